//go:build envoystub

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stub.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; // guards events
static int64_t passed_monotonic, passed_wall;

void stub_pass(int64_t monotonic, int64_t wall) {
	__atomic_add_fetch(&passed_monotonic, monotonic, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&passed_wall, wall, __ATOMIC_SEQ_CST);
}

// In a build with the stub, this is what the module's C calls clock_gettime.
#undef clock_gettime
extern int clock_gettime(clockid_t, struct timespec *);
int stub_clock_gettime(clockid_t clock, struct timespec *t) {
	int failed = clock_gettime(clock, t);
	int64_t *passed = clock == CLOCK_REALTIME ? &passed_wall : &passed_monotonic;
	int64_t all = t->tv_nsec + __atomic_load_n(passed, __ATOMIC_SEQ_CST);
	t->tv_sec += all / 1000000000;
	t->tv_nsec = all % 1000000000;
	return failed;
}

static void tell(envoy_filter f, const char *what, buffer a, buffer b) {
	stub_stream *s = f;
	size_t len = strlen(what) + 1 + a.len + 1 + b.len + 1;
	s->told = realloc(s->told, s->told_len + len);
	char *to = s->told + s->told_len;
	memcpy(to, what, strlen(what));
	to += strlen(what);
	*to++ = ' ';
	if (a.len > 0) memcpy(to, a.ptr, a.len);
	to += a.len;
	*to++ = ' ';
	if (b.len > 0) memcpy(to, b.ptr, b.len);
	to[b.len] = '\n';
	s->told_len += len;
}

static const buffer nothing = {NULL, 0};

static bool named(const header *h, buffer name) {
	return h->name_len == name.len && memcmp(h->name, name.ptr, name.len) == 0;
}

bool CALLBACK(http_get_header)(envoy_filter f, int kind, buffer name, buffer *value, size_t index,
                               size_t *count) {
	(void)index, (void)count;
	stub_stream *s = f;
	if (kind == kind_response) {
		*value = TEXT("200");
		return name.len == 7;
	}
	for (size_t i = 0; i < s->count; i++) {
		if (!named(&s->headers[i], name)) continue;
		*value = (buffer){s->headers[i].value, s->headers[i].value_len};
		return true;
	}
	return false;
}

size_t CALLBACK(http_get_headers_size)(envoy_filter f, int kind) {
	(void)kind;
	return ((stub_stream *)f)->count;
}

bool CALLBACK(http_get_headers)(envoy_filter f, int kind, header *all) {
	(void)kind;
	stub_stream *s = f;
	memcpy(all, s->headers, s->count * sizeof(header));
	return true;
}

bool CALLBACK(http_set_header)(envoy_filter f, int kind, buffer name, buffer value) {
	tell(f, kind == kind_request ? value.ptr == NULL ? "remove" : "set" : "tell", name, value);
	return true;
}

bool CALLBACK(http_add_header)(envoy_filter f, int kind, buffer name, buffer value) {
	(void)kind;
	tell(f, "add", name, value);
	return true;
}

void CALLBACK(http_clear_route_cache)(envoy_filter f) { tell(f, "route", nothing, nothing); }

void CALLBACK(http_send_response)(envoy_filter f, uint32_t status, header *headers, size_t n,
                                  buffer body, buffer details) {
	(void)status, (void)body;
	for (size_t i = 0; i < n; i++) {
		tell(f, "with", (buffer){headers[i].name, headers[i].name_len},
		     (buffer){headers[i].value, headers[i].value_len});
	}
	tell(f, "refuse", details, nothing);
}

void CALLBACK(http_send_response_data)(envoy_filter f, buffer data, bool end) {
	(void)data, (void)end;
	tell(f, "end", nothing, nothing);
}

void CALLBACK(http_send_response_trailers)(envoy_filter f, header *all, size_t n) {
	(void)all, (void)n;
	tell(f, "end", nothing, nothing);
}

void CALLBACK(http_filter_continue_decoding)(envoy_filter f) {
	tell(f, "continue", nothing, nothing);
}

void CALLBACK(http_filter_reset_stream)(envoy_filter f, int reason, buffer details) {
	(void)reason;
	tell(f, "end", details, nothing);
}

bool CALLBACK(http_filter_get_attribute_string)(envoy_filter f, int id, buffer *value) {
	stub_stream *s = f;
	*value = id == attribute_peer_uri ? s->peer : id == attribute_protocol ? TEXT("HTTP/2") : nothing;
	return value->len > 0;
}

bool CALLBACK(http_filter_get_attribute_bool)(envoy_filter f, int id, bool *value) {
	*value = id == attribute_mtls && ((stub_stream *)f)->peer.len > 0;
	return true;
}

void CALLBACK(http_set_dynamic_metadata_string)(envoy_filter f, buffer space, buffer key,
                                                buffer value) {
	(void)space;
	tell(f, "metadata", key, value);
}

const void *CALLBACK(get_most_specific_route_config)(envoy_filter f) {
	return ((stub_stream *)f)->route;
}

extern void stub_meanwhile(void); // Go's

envoy_scheduler CALLBACK(http_filter_scheduler_new)(envoy_filter f) {
	stub_meanwhile();
	return f;
}

void CALLBACK(http_filter_scheduler_commit)(envoy_scheduler f, uint64_t event) {
	stub_stream *s = f;
	pthread_mutex_lock(&mutex);
	if (s->event_count < sizeof s->events / sizeof *s->events) s->events[s->event_count++] = event;
	pthread_mutex_unlock(&mutex);
}

void CALLBACK(http_filter_scheduler_delete)(envoy_scheduler f) { (void)f; }

int CALLBACK(http_filter_config_define_counter)(envoy_config c, buffer name, buffer *labels, size_t n,
                                                size_t *id) {
	(void)c, (void)name, (void)labels, (void)n;
	*id = 0;
	return 0;
}

int CALLBACK(http_filter_increment_counter)(envoy_filter f, size_t id, buffer *values, size_t n,
                                            uint64_t by) {
	(void)f, (void)id, (void)values, (void)n, (void)by;
	return 0;
}

envoy_scheduler CALLBACK(bootstrap_extension_config_scheduler_new)(envoy_bootstrap b) { return b; }
void CALLBACK(bootstrap_extension_config_scheduler_commit)(envoy_scheduler s, uint64_t event) {
	(void)s, (void)event;
}
void CALLBACK(bootstrap_extension_config_scheduler_delete)(envoy_scheduler s) { (void)s; }
void CALLBACK(bootstrap_extension_config_signal_init_complete)(envoy_bootstrap b) { (void)b; }
bool CALLBACK(is_validation_mode)(void) { return false; }
void CALLBACK(log)(int level, buffer message) { (void)level, (void)message; }

// The module's hooks.
const void *envoy_dynamic_module_on_http_filter_config_new(envoy_config, buffer, buffer);
const void *envoy_dynamic_module_on_http_filter_per_route_config_new(buffer, buffer);
void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *);
const void *envoy_dynamic_module_on_http_filter_new(const void *, envoy_filter);
int envoy_dynamic_module_on_http_filter_request_headers(envoy_filter, const void *, bool);
int envoy_dynamic_module_on_http_filter_response_headers(envoy_filter, const void *, bool);
void envoy_dynamic_module_on_http_filter_scheduled(envoy_filter, const void *, uint64_t);
void envoy_dynamic_module_on_http_filter_destroy(const void *);
void envoy_dynamic_module_on_http_filter_config_destroy(const void *);

void *stub_config(void) {
	return (void *)envoy_dynamic_module_on_http_filter_config_new(NULL, nothing, nothing);
}

void stub_close_config(void *config) {
	envoy_dynamic_module_on_http_filter_config_destroy(config);
}

stub_stream *stub_open(const void *config, header *headers, size_t count, buffer policy, buffer peer) {
	stub_stream *s = calloc(1, sizeof(stub_stream));
	s->headers = headers;
	s->count = count;
	s->peer = peer;
	if (policy.len > 0)
		s->route = envoy_dynamic_module_on_http_filter_per_route_config_new(nothing, policy);
	s->module = envoy_dynamic_module_on_http_filter_new(config, s);
	s->status = envoy_dynamic_module_on_http_filter_request_headers(s, s->module, true);
	s->headers = NULL; // only views in a hook
	s->count = 0;
	s->peer = nothing;
	return s;
}

void stub_respond(stub_stream *s) {
	envoy_dynamic_module_on_http_filter_response_headers(s, s->module, false);
}

size_t stub_run(stub_stream *s) {
	uint64_t events[sizeof s->events / sizeof *s->events];
	pthread_mutex_lock(&mutex);
	size_t n = s->event_count;
	memcpy(events, s->events, sizeof events);
	s->event_count = 0;
	pthread_mutex_unlock(&mutex);
	for (size_t i = 0; i < n; i++) {
		envoy_dynamic_module_on_http_filter_scheduled(s, s->module, events[i]);
	}
	return n;
}

void stub_close(stub_stream *s) {
	envoy_dynamic_module_on_http_filter_destroy(s->module);
	if (s->route != NULL) envoy_dynamic_module_on_http_filter_per_route_config_destroy(s->route);
	free(s->told);
	free(s);
}
