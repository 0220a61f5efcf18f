// What this module uses of Envoy's ABI of dynamic modules, version 1.40.0, declared by hand. Sizes
// and orders are those of x86-64 and arm64, where a buffer by value is two registers.
#ifndef SALLYPORT_ENVOY_H
#define SALLYPORT_ENVOY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	const char *ptr;
	size_t len;
} buffer;

typedef struct {
	const char *name;
	size_t name_len;
	const char *value;
	size_t value_len;
} header;

#define TEXT(literal) ((buffer){literal, sizeof(literal) - 1})

// Envoy's own objects.
typedef void *envoy_filter;
typedef void *envoy_config;
typedef void *envoy_scheduler;
typedef void *envoy_bootstrap;

enum { kind_request = 0, kind_response = 2 }; // of header maps
// What a hook for headers returns.
enum { status_continue = 0, status_stop = 1, status_stop_all_watermark = 4 };
enum {
	attribute_protocol = 10,
	attribute_source_address = 24,
	attribute_mtls = 29, // the client has a certificate
	attribute_peer_subject = 33,
	attribute_peer_dns = 35,
	attribute_peer_uri = 37,
};
enum { log_info = 2, log_warn = 3, log_error = 4, log_critical = 5 };

#define CALLBACK(name) envoy_dynamic_module_callback_##name

bool CALLBACK(http_get_header)(envoy_filter, int kind, buffer name, buffer *value, size_t index,
                               size_t *count);
size_t CALLBACK(http_get_headers_size)(envoy_filter, int kind);
bool CALLBACK(http_get_headers)(envoy_filter, int kind, header *all);
bool CALLBACK(http_set_header)(envoy_filter, int kind, buffer name, buffer value);
bool CALLBACK(http_add_header)(envoy_filter, int kind, buffer name, buffer value);
void CALLBACK(http_clear_route_cache)(envoy_filter);
void CALLBACK(http_send_response)(envoy_filter, uint32_t status, header *, size_t, buffer body,
                                  buffer details);
void CALLBACK(http_send_response_data)(envoy_filter, buffer, bool end);
void CALLBACK(http_send_response_trailers)(envoy_filter, header *, size_t);
void CALLBACK(http_filter_continue_decoding)(envoy_filter);
void CALLBACK(http_filter_reset_stream)(envoy_filter, int reason, buffer details);
bool CALLBACK(http_filter_get_attribute_string)(envoy_filter, int id, buffer *value);
bool CALLBACK(http_filter_get_attribute_bool)(envoy_filter, int id, bool *value);
void CALLBACK(http_set_dynamic_metadata_string)(envoy_filter, buffer space, buffer key,
                                                buffer value);
const void *CALLBACK(get_most_specific_route_config)(envoy_filter);

envoy_scheduler CALLBACK(http_filter_scheduler_new)(envoy_filter);
void CALLBACK(http_filter_scheduler_commit)(envoy_scheduler, uint64_t event);
void CALLBACK(http_filter_scheduler_delete)(envoy_scheduler);

int CALLBACK(http_filter_config_define_counter)(envoy_config, buffer name, buffer *labels, size_t,
                                                size_t *id);
int CALLBACK(http_filter_increment_counter)(envoy_filter, size_t id, buffer *values, size_t,
                                            uint64_t by);

envoy_scheduler CALLBACK(bootstrap_extension_config_scheduler_new)(envoy_bootstrap);
void CALLBACK(bootstrap_extension_config_scheduler_commit)(envoy_scheduler, uint64_t event);
void CALLBACK(bootstrap_extension_config_scheduler_delete)(envoy_scheduler);
void CALLBACK(bootstrap_extension_config_signal_init_complete)(envoy_bootstrap);

bool CALLBACK(is_validation_mode)(void);
void CALLBACK(log)(int level, buffer message);

#endif
