// Streams, as this module's C and Go both know them.
#ifndef SALLYPORT_STREAM_H
#define SALLYPORT_STREAM_H

#include "envoy.h"

// Called by Go. A stream that is over is left alone; what is given is copied.
void sallyport_resume(uint32_t worker, uint32_t place, uint64_t generation, const void *answer,
                      size_t len);
bool sallyport_end(uint32_t worker, uint32_t place, uint64_t generation, bool stale,
                   const void *answer, size_t len);
// Has Envoy's main thread told that the gate is ready, or has stopped.
void sallyport_tell(uint64_t event);
void sallyport_log(int level, const char *message, size_t len);
// The address that a request came from, as "ip:port"; empty when there is none.
buffer sallyport_source(envoy_filter);

enum { tell_ready = 1, tell_stopped = 2 };

#endif
