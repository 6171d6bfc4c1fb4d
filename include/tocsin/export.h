// SPDX-License-Identifier: Apache-2.0
// What libtocsin exports. Everything else in the library has hidden visibility.
#pragma once

#if defined(__GNUC__)
#define TOCSIN_API __attribute__((visibility("default")))
#else
#define TOCSIN_API
#endif
