/* Stands for libnvinfer, libnvonnxparser and libnvinfer_plugin, so that the Python bindings of TensorRT import on a
 * machine without TensorRT. Every factory fails; nothing can be built or run with it. */
#include <stddef.h>

#define FACTORY(name) \
    void *name(void) { return NULL; }

FACTORY(createInferBuilder_INTERNAL)
FACTORY(createInferRefitter_INTERNAL)
FACTORY(createInferRuntime_INTERNAL)
FACTORY(createNvOnnxParser_INTERNAL)
FACTORY(createNvOnnxParserRefitter_INTERNAL)
FACTORY(getBuilderPluginRegistry)
FACTORY(getPluginRegistry)

int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *logger, const char *space) { return logger == NULL && space == NULL; }
