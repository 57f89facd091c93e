#pragma once

// What all that a SyncManager makes is used through.

#include "mp/base_proxy.hpp"
#include "mp/dict_proxy.hpp"
#include "mp/list_proxy.hpp"
#include "mp/namespace_proxy.hpp"
#include "mp/pool_proxies.hpp"
#include "mp/set_proxy.hpp"
#include "mp/sync_proxies.hpp"
