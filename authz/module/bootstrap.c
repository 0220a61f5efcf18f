// The life of the gate in Envoy's process: hooks of a bootstrap extension. It holds the listeners
// until the gate is ready, and has the gate stop before Envoy exits.

#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

#include "_cgo_export.h"
#include "stream.h"

// Go's threads poll with sleeps of 20 microseconds while Envoy calls into Go, which costs up to a
// tenth of a processor. They inherit the timer slack of the thread that loads the module: for the
// time that it takes Go to start, that is a millisecond. Priority 101 is before Go's constructor.
static unsigned long slack;
enum { go_slack = 1000000 }; // nanoseconds

__attribute__((constructor(101))) static void widen_slack(void) {
	long now = prctl(PR_GET_TIMERSLACK);
	if (now > 0 && prctl(PR_SET_TIMERSLACK, go_slack) == 0) slack = now;
}

const char *envoy_dynamic_module_on_program_init(void) {
	if (slack > 0) prctl(PR_SET_TIMERSLACK, slack);
	return "v0.2.0";
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static envoy_scheduler scheduler; // guarded by mutex: to the main thread; NULL: Envoy is gone

// The rest is the main thread's.
static bool running;
static void (*on_stopped)(void *);
static void *on_stopped_context;

static const char extension; // what Envoy is given to name the one there is

void sallyport_tell(uint64_t event) {
	pthread_mutex_lock(&mutex);
	if (scheduler != NULL) CALLBACK(bootstrap_extension_config_scheduler_commit)(scheduler, event);
	pthread_mutex_unlock(&mutex);
}

void sallyport_log(int level, const char *message, size_t len) {
	CALLBACK(log)(level, (buffer){message, len});
}

static void set_scheduler(envoy_scheduler s) {
	pthread_mutex_lock(&mutex);
	if (scheduler != NULL) CALLBACK(bootstrap_extension_config_scheduler_delete)(scheduler);
	scheduler = s;
	pthread_mutex_unlock(&mutex);
}

const void *envoy_dynamic_module_on_bootstrap_extension_config_new(envoy_bootstrap envoy,
                                                                   buffer name, buffer settings) {
	(void)name;
	if (CALLBACK(is_validation_mode)()) {
		// The settings are checked, and nothing is started.
		if (!sallyport_check((char *)settings.ptr, settings.len)) return NULL;
		CALLBACK(bootstrap_extension_config_signal_init_complete)(envoy);
		return &extension;
	}
	if (running) {
		const char *twice = "sallyport: expected one bootstrap extension, got two";
		sallyport_log(log_error, twice, strlen(twice));
		return NULL;
	}
	set_scheduler(CALLBACK(bootstrap_extension_config_scheduler_new)(envoy));
	if (!sallyport_start((char *)settings.ptr, settings.len)) {
		set_scheduler(NULL);
		return NULL;
	}
	running = true;
	return &extension;
}

void envoy_dynamic_module_on_bootstrap_extension_config_scheduled(envoy_bootstrap envoy,
                                                                  const void *m, uint64_t event) {
	(void)m;
	if (event == tell_ready) {
		CALLBACK(bootstrap_extension_config_signal_init_complete)(envoy);
	} else if (event == tell_stopped && on_stopped != NULL) {
		void (*stopped)(void *) = on_stopped;
		on_stopped = NULL;
		stopped(on_stopped_context);
	}
}

void envoy_dynamic_module_on_bootstrap_extension_config_destroy(const void *m) {
	(void)m;
	set_scheduler(NULL);
}

const void *envoy_dynamic_module_on_bootstrap_extension_new(const void *config, void *envoy) {
	(void)config, (void)envoy;
	return &extension;
}

void envoy_dynamic_module_on_bootstrap_extension_shutdown(void *envoy, const void *m,
                                                          void (*stopped)(void *), void *context) {
	(void)envoy, (void)m;
	if (!running) {
		stopped(context);
		return;
	}
	on_stopped = stopped;
	on_stopped_context = context;
	if (sallyport_stop()) return;
	on_stopped = NULL;
	stopped(context);
}

// Hooks that Envoy wants to be there and this module has no use for.

#define UNUSED(name)                                                                              \
	void envoy_dynamic_module_on_bootstrap_extension_##name(void) {}

UNUSED(destroy)
UNUSED(server_initialized)
UNUSED(worker_thread_initialized)
UNUSED(drain_started)
UNUSED(http_callout_done)
UNUSED(timer_fired)
UNUSED(file_changed)
UNUSED(cluster_add_or_update)
UNUSED(cluster_removal)
UNUSED(listener_add_or_update)
UNUSED(listener_removal)

// It would return the status of an answer: nothing asks it.
uint32_t envoy_dynamic_module_on_bootstrap_extension_admin_request(void) { return 404; }
