/* plugin.h - what the plugin and its program share. */
#ifndef FAR_TESTS_OBJECT_PLUGIN_H
#define FAR_TESTS_OBJECT_PLUGIN_H

#include "far/object.h"

typedef struct plugged {
    FAR(int) owned;
} plugged;
FAR_DECLARE(plugged);
FAR_TYPE(plugged, owned);

#endif
