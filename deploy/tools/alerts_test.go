package tools

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

// history is what Prometheus has scraped, every 15 seconds from the start, in the notation of its
// own tests, and when the rule is looked at last. fires names the instances, or what else tells
// alerts apart, that the alert fires for then.
type history struct {
	alert, what string
	series      []string
	at          time.Duration
	fires       []string
}

const (
	aGate    = `sallyport_build_info{name="authz",instance="gate"} 1x99`
	anIssuer = `sallyport_build_info{name="issuer",instance="issuer"} 1x99`

	// Of one Envoy and of one issuer's keys: what is put behind them are their values.
	unanswered = "envoy_http_ext_authz_error" + ofEnvoy
	denials    = "envoy_http_ext_authz_denied" + ofEnvoy
	ofEnvoy    = `{envoy_http_conn_manager_prefix="gateway",instance="envoy"} `
	confirmed  = "sallyport_keyset_confirmed_timestamp_seconds" +
		`{issuer="https://x.example",instance="gate"} `

	// Of one sender, its stream, and its messages, likewise.
	failures    = `sallyport_issuer_stream_failures_total{sender="https://s.example",`
	verified    = `sallyport_issuer_stream_verified_timestamp_seconds{sender="https://s.example",`
	messages    = `sallyport_issuer_messages_total{instance="issuer",channel="push",`
	eventsEnded = `sallyport_issuer_security_events_total{instance="issuer",type="account_disabled",`
)

var histories = []history{
	{
		"ProcessGone",
		"a gate that is gone",
		[]string{`up{job="sallyport-gate",instance="gate"} 1x9 0x9`},
		4 * time.Minute,
		[]string{"gate"},
	},
	{
		"ProcessGone",
		"a scrape that failed once",
		[]string{`up{job="sallyport-gate",instance="gate"} 1x9 0 1x9`},
		165 * time.Second,
		nil,
	},
	{
		"ProcessGone",
		"another's process",
		[]string{`up{job="shop",instance="shop"} 0x99`},
		4 * time.Minute,
		nil,
	},

	{"NoGate", "issuers alone", []string{anIssuer}, 2 * time.Minute, []string{""}},
	{
		"NoGate",
		"a gate that was there, and is in no discovery any more",
		[]string{`sallyport_build_info{name="authz",instance="gate"} 1x9 stale`},
		5 * time.Minute,
		[]string{""},
	},
	{"NoGate", "a gate", []string{aGate}, 5 * time.Minute, nil},

	{"NoIssuer", "gates alone", []string{aGate}, 2 * time.Minute, []string{""}},
	{"NoIssuer", "an issuer", []string{anIssuer}, 5 * time.Minute, nil},

	{
		"NoGateAnswers",
		"Envoy without gates",
		[]string{unanswered + "0x9 0+15x20"},
		6 * time.Minute,
		[]string{"envoy"},
	},
	{
		"NoGateAnswers",
		"gates that refuse",
		[]string{
			unanswered + "7x40",
			denials + "0+500x40",
		},
		6 * time.Minute,
		nil,
	},

	{
		"GateCannotKnow",
		"a gate and an issuer without a fresh copy",
		[]string{
			`sallyport_revocation_fresh{instance="gate"} 0x99`,
			`sallyport_revocation_fresh{instance="issuer"} 0x99`,
			aGate,
			anIssuer,
		},
		time.Minute,
		[]string{"gate"},
	},
	{
		"GateCannotKnow",
		"a fresh gate",
		[]string{`sallyport_revocation_fresh{instance="gate"} 1x99`, aGate},
		time.Minute,
		nil,
	},

	{
		"GateGoesStale",
		"a gate and an issuer that Redis does not reach",
		[]string{
			`sallyport_revocation_staleness_seconds{instance="gate"} 5x99`,
			`sallyport_revocation_staleness_seconds{instance="issuer"} 5x99`,
			aGate,
			anIssuer,
		},
		time.Minute,
		[]string{"gate"},
	},
	{
		"GateGoesStale",
		"an issuer that goes stale",
		[]string{`sallyport_revocation_staleness_seconds{instance="issuer"} 9x99`, anIssuer},
		time.Minute,
		nil,
	},
	{
		"GateGoesStale",
		"a gate as usual",
		[]string{`sallyport_revocation_staleness_seconds{instance="gate"} 0.4x99`, aGate},
		time.Minute,
		nil,
	},

	{
		"GatesRefuseWhatTheyCannotJudge",
		"503",
		[]string{`sallyport_gate_decisions_total{code="503",reason="no_keys",instance="gate"} 0+15x40`},
		5 * time.Minute,
		[]string{"no_keys"},
	},
	{
		"GatesRefuseWhatTheyCannotJudge",
		"keys of an issuer that fails",
		[]string{
			`sallyport_gate_decisions_total{code="503",reason="key_pending",instance="gate"} 0+15x40`,
			`sallyport_keyset_fetches_total{issuer="https://x.example",result="failed",instance="gate"} 0+3x40`,
		},
		5 * time.Minute,
		[]string{"key_pending"},
	},
	{
		"GatesRefuseWhatTheyCannotJudge",
		"made-up keys of an issuer that answers",
		[]string{
			`sallyport_gate_decisions_total{code="503",reason="key_pending",instance="gate"} 0+1500x40`,
			`sallyport_keyset_fetches_total{issuer="https://x.example",result="failed",instance="gate"} 3x40`,
		},
		5 * time.Minute,
		nil,
	},
	{
		"GatesRefuseWhatTheyCannotJudge",
		"401",
		[]string{`sallyport_gate_decisions_total{code="401",reason="expired",instance="gate"} 0+1500x40`},
		5 * time.Minute,
		nil,
	},

	{
		"NotReady",
		"a part that waits",
		[]string{`sallyport_part_ready{part="keys",instance="gate"} 0x99`},
		3 * time.Minute,
		[]string{"gate"},
	},
	{
		"NotReady",
		"a start",
		[]string{`sallyport_part_ready{part="keys",instance="gate"} 0x3 1x99`},
		3 * time.Minute,
		nil,
	},

	{
		"IssuerUnavailable",
		"503",
		[]string{
			`sallyport_issuer_requests_total{status="503",endpoint="login",instance="issuer"} 0+15x40`,
		},
		5 * time.Minute,
		[]string{""},
	},
	{
		"IssuerUnavailable",
		"wrong passwords",
		[]string{
			`sallyport_issuer_requests_total{status="401",endpoint="login",instance="issuer"} 0+150x40`,
		},
		5 * time.Minute,
		nil,
	},

	{
		"RevocationsNotStored",
		"a failed append",
		[]string{`sallyport_revocation_appends_total{outcome="failed",instance="issuer"} 0x9 1x20`},
		4 * time.Minute,
		[]string{""},
	},
	{
		"RevocationsNotStored",
		"logouts",
		[]string{`sallyport_revocation_appends_total{outcome="acknowledged",instance="issuer"} 0+9x40`},
		4 * time.Minute,
		nil,
	},

	{
		"IssuerIsAlone",
		"one issuer for half an hour",
		[]string{`sallyport_revocation_appended_alone_total{instance="issuer"} 0+1x200`},
		30 * time.Minute,
		[]string{"issuer"},
	},
	{
		"IssuerIsAlone",
		"the other one was restarted",
		[]string{`sallyport_revocation_appended_alone_total{instance="issuer"} 0x9 3x200`},
		40 * time.Minute,
		nil,
	},

	{
		"RevocationLogLost",
		"another epoch",
		[]string{`sallyport_revocation_resyncs_total{cause="epoch",instance="gate"} 0x9 1x20`},
		4 * time.Minute,
		[]string{"gate"},
	},
	{
		"RevocationLogLost",
		"a start",
		[]string{`sallyport_revocation_resyncs_total{cause="start",instance="gate"} 0x9 1x20`},
		4 * time.Minute,
		nil,
	},

	{
		"RevocationsArriveLate",
		"a reader that stands still",
		[]string{
			`sallyport_revocation_lag_entries{instance="gate"} 5x40`,
			`sallyport_revocation_applied_seq{instance="gate"} 7x40`,
		},
		2 * time.Minute,
		[]string{"gate"},
	},
	{
		"RevocationsArriveLate",
		"a reader that is busy",
		[]string{
			`sallyport_revocation_lag_entries{instance="gate"} 5x40`,
			`sallyport_revocation_applied_seq{instance="gate"} 7+50x40`,
		},
		2 * time.Minute,
		nil,
	},

	{
		"RevocationsMissing",
		"entries that the log lacks",
		[]string{`sallyport_revocation_missing_entries{instance="issuer"} 2x40`},
		3 * time.Minute,
		[]string{"issuer"},
	},
	{
		"RevocationsMissing",
		"none",
		[]string{`sallyport_revocation_missing_entries{instance="issuer"} 0x40`},
		3 * time.Minute,
		nil,
	},

	{
		"RevocationLogGrows",
		"nobody trims",
		[]string{
			`sallyport_revocation_log_length{instance="issuer"} 900000x400`,
			`sallyport_revocation_live_entries{kind="sid",instance="issuer"} 1000x400`,
		},
		90 * time.Minute,
		[]string{""},
	},
	{
		"RevocationLogGrows",
		"many in force",
		[]string{
			`sallyport_revocation_log_length{instance="issuer"} 900000x400`,
			`sallyport_revocation_live_entries{kind="sid",instance="issuer"} 800000x400`,
		},
		90 * time.Minute,
		nil,
	},

	{
		"SnapshotNotKept",
		"a full disk",
		[]string{`sallyport_revocation_snapshot_writes_total{outcome="failed",instance="gate"} 0x9 1x20`},
		4 * time.Minute,
		[]string{"gate"},
	},
	{
		"SnapshotNotKept",
		"files written",
		[]string{`sallyport_revocation_snapshot_writes_total{outcome="ok",instance="gate"} 0+1x40`},
		4 * time.Minute,
		nil,
	},

	{
		"RedisCanLoseRevocations",
		"checks that failed",
		[]string{`sallyport_revocation_failed_redis_checks{instance="issuer"} 2x40`},
		time.Minute,
		[]string{"issuer"},
	},
	{
		"RedisCanLoseRevocations",
		"none",
		[]string{`sallyport_revocation_failed_redis_checks{instance="issuer"} 0x40`},
		time.Minute,
		nil,
	},

	{
		"RedisFillsUp",
		"nine tenths of the limit",
		[]string{
			`sallyport_revocation_redis_used_bytes{instance="issuer"} 90x80`,
			`sallyport_revocation_redis_limit_bytes{instance="issuer"} 100x80`,
		},
		10 * time.Minute,
		[]string{"issuer"},
	},
	{
		"RedisFillsUp",
		"half of it",
		[]string{`sallyport_revocation_redis_used_bytes{instance="issuer"} 50x80`,
			`sallyport_revocation_redis_limit_bytes{instance="issuer"} 100x80`},
		10 * time.Minute,
		nil,
	},
	{
		"RedisFillsUp",
		"no limit",
		[]string{`sallyport_revocation_redis_used_bytes{instance="issuer"} 90x80`,
			`sallyport_revocation_redis_limit_bytes{instance="issuer"} 0x80`},
		10 * time.Minute,
		nil,
	},

	{
		"ClockIsOff",
		"twelve seconds",
		[]string{`sallyport_revocation_clock_skew_seconds{instance="gate"} 12x40`},
		2 * time.Minute,
		[]string{"gate"},
	},
	{
		"ClockIsOff",
		"a moment",
		[]string{`sallyport_revocation_clock_skew_seconds{instance="gate"} 0.1x40`},
		2 * time.Minute,
		nil,
	},

	{
		"RefreshTokenUsedTwice",
		"ten within the hour",
		[]string{
			`sallyport_issuer_refresh_refused_total{reason="reuse",instance="issuer"} 0+1x10 10x300`,
		},
		30 * time.Minute,
		[]string{""},
	},
	{
		"RefreshTokenUsedTwice",
		"expired ones",
		[]string{`sallyport_issuer_refresh_refused_total{reason="expired",instance="issuer"} 0+9x300`},
		30 * time.Minute,
		nil,
	},

	{
		"PasswordsAreGuessed",
		"two a second",
		[]string{`sallyport_password_checks_total{outcome="invalid",instance="issuer"} 0+30x200`},
		25 * time.Minute,
		[]string{""},
	},
	{
		"PasswordsAreGuessed",
		"right ones",
		[]string{`sallyport_password_checks_total{outcome="ok",instance="issuer"} 0+30x200`},
		25 * time.Minute,
		nil,
	},

	{
		"StreamFails",
		"polls that fail, ever more seldom",
		[]string{failures + `instance="a",step="poll"} 0 1 2 3 3 4 4+0.25x60`},
		15 * time.Minute,
		[]string{"https://s.example"},
	},
	{
		"StreamFails",
		"a sender that was away for a moment, and one that is not",
		[]string{
			failures + `instance="a",step="poll"} 0 1 2 3 4x60`, failures + `instance="b",step="poll"} 0x60`,
		},
		15 * time.Minute,
		nil,
	},

	{
		"StreamNotVerified",
		"a stream that two issuers know to have been verified long ago",
		[]string{verified + `instance="a"} 60x300`, verified + `instance="b"} 60x300`},
		40 * time.Minute,
		[]string{"https://s.example"},
	},
	{
		"StreamNotVerified",
		"one that never was, and was asked to show itself",
		[]string{verified + `instance="a"} 0x300`},
		40 * time.Minute,
		[]string{"https://s.example"},
	},
	{
		"StreamNotVerified",
		"one that was verified to the issuer that now keeps it",
		[]string{verified + `instance="a"} 60x300`, verified + `instance="b"} 0+15x300`},
		40 * time.Minute,
		nil,
	},

	{
		"MessagesRefused",
		"one, the first",
		[]string{messages + `outcome="refused"} 0x9 1x60`},
		5 * time.Minute,
		[]string{"push"},
	},
	{
		"MessagesRefused",
		"none lately, and others that were made up",
		[]string{messages + `outcome="refused"} 4x60`, messages + `outcome="not_verified"} 0+1x60`},
		10 * time.Minute,
		nil,
	},

	{
		"MessagesNotVerified",
		"all that come",
		[]string{messages + `outcome="not_verified"} 0+1x100`},
		20 * time.Minute,
		[]string{"push"},
	},
	{
		"MessagesNotVerified",
		"keys that can not be looked up",
		[]string{messages + `outcome="key_pending"} 0+1x100`},
		20 * time.Minute,
		[]string{"push"},
	},
	{
		"MessagesNotVerified",
		"a few that somebody made up",
		[]string{messages + `outcome="not_verified"} 0x30 3x20 6x50`},
		20 * time.Minute,
		nil,
	},

	{
		"SecurityEventsUnmapped",
		"one, the first",
		[]string{eventsEnded + `outcome="unmapped"} 0x9 1x60`},
		5 * time.Minute,
		[]string{"account_disabled"},
	},
	{
		"SecurityEventsUnmapped",
		"those that end what they mean",
		[]string{eventsEnded + `outcome="unmapped"} 0x60`, eventsEnded + `outcome="revokes"} 0+1x60`},
		5 * time.Minute,
		nil,
	},

	// The clock of these tests begins with 1970.
	{
		"KeysNotConfirmed",
		"keys of two hours ago",
		[]string{confirmed + "60x800"},
		2 * time.Hour,
		[]string{"gate"},
	},
	{
		"KeysNotConfirmed",
		"keys of now",
		[]string{confirmed + "0+15x800"},
		2 * time.Hour,
		nil,
	},

	{
		"KeyRingBroken",
		"a broken folder",
		[]string{`sallyport_keyring_broken{instance="issuer"} 1x40`},
		2 * time.Minute,
		[]string{"issuer"},
	},
	{
		"KeyRingBroken",
		"a whole one",
		[]string{
			`sallyport_keyring_broken{instance="issuer"} 0x40`,
			`sallyport_keyring_rotation_failures_total{instance="issuer"} 3x40`,
		},
		2 * time.Minute,
		nil,
	},

	{
		"SettingsNotInForce",
		"a users' file that is broken",
		[]string{`sallyport_users_broken{instance="issuer"} 1x40`},
		2 * time.Minute,
		[]string{"issuer"},
	},
	{
		"SettingsNotInForce",
		"all well",
		[]string{
			`sallyport_users_broken{instance="issuer"} 0x40`,
			`sallyport_reload_last_ok{instance="issuer"} 1x40`,
		},
		2 * time.Minute,
		nil,
	},

	{
		"DecisionLinesDropped",
		"a flood",
		[]string{`sallyport_gate_decision_log_dropped_total{instance="gate",why="rate"} 0x9 400x20`},
		4 * time.Minute,
		[]string{"gate"},
	},
	{
		"DecisionLinesDropped",
		"none",
		[]string{`sallyport_gate_decision_log_dropped_total{instance="gate",why="rate"} 4x40`},
		4 * time.Minute,
		nil,
	},

	{
		"AuditLinesLost",
		"a full disk",
		[]string{`sallyport_audit_lost_total{instance="issuer"} 0x9 4x20`},
		4 * time.Minute,
		[]string{"issuer"},
	},
	{
		"AuditLinesLost",
		"none",
		[]string{`sallyport_audit_lost_total{instance="issuer"} 4x40`},
		4 * time.Minute,
		nil,
	},

	{
		"Panicked",
		"one",
		[]string{`sallyport_gate_panics_total{instance="gate"} 0x9 1x40`},
		4 * time.Minute,
		[]string{"gate"},
	},
	{
		"Panicked",
		"none",
		[]string{
			`sallyport_gate_panics_total{instance="gate"} 0x40`,
			`sallyport_issuer_panics_total{instance="issuer"} 0x40`,
		},
		4 * time.Minute,
		nil,
	},
}

// TestEachAlertFiresWhenItShouldAndOnlyThen has Prometheus' own engine walk each rule through
// histories, as promtool does.
func TestEachAlertFiresWhenItShouldAndOnlyThen(t *testing.T) {
	groups, errs := rulefmt.Parse([]byte(readFile(t, "examples/alerts.yaml")), false,
		model.UTF8Validation, parser.NewParser(parser.Options{}), nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	alerts := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			alerts[rule.Alert] = rule
		}
	}
	fired, silent := map[string]bool{}, map[string]bool{}
	for _, h := range histories {
		fired[h.alert], silent[h.alert] = fired[h.alert] ||
			len(h.fires) > 0, silent[h.alert] ||
			len(h.fires) == 0
		t.Run(h.alert+" "+h.what, func(t *testing.T) {
			rule, ok := alerts[h.alert]
			if !ok {
				t.Fatal("no such alert")
			}
			if got := firing(t, rule, h); !slices.Equal(got, h.fires) {
				t.Errorf("fires for %q, expected %q", got, h.fires)
			}
		})
	}
	for name := range alerts {
		if !fired[name] || !silent[name] {
			t.Errorf("%s: no history in which it fires, or none in which it does not", name)
		}
	}
}

// firing evaluates a rule every 15 seconds, and says for what it fires at the end.
func firing(t *testing.T, rule rulefmt.Rule, h history) []string {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 15s\n  "+strings.Join(h.series, "\n  "))
	t.Cleanup(func() {
		if err := storage.Close(); err != nil {
			t.Error(err)
		}
	})
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	alert := rules.NewAlertingRule(rule.Alert, expression, time.Duration(rule.For),
		time.Duration(rule.KeepFiringFor), labels.FromMap(rule.Labels),
		labels.FromMap(rule.Annotations), labels.EmptyLabels(), "", true,
		slog.New(slog.DiscardHandler))
	query := rules.EngineQueryFunc(engine, storage)
	for at := time.Duration(0); at <= h.at; at += 15 * time.Second {
		if _, err := alert.Eval(t.Context(), 0, time.Unix(0, 0).Add(at), query, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, active := range alert.ActiveAlerts() {
		if active.State == rules.StateFiring {
			of := active.Labels.Get
			names = append(names, cmp.Or(of("instance"), of("reason"), of("sender"), of("channel"), of("type")))
		}
	}
	slices.Sort(names)
	return names
}

// TestPrometheusScrapesWhatTheAlertsRead: the jobs have names that the alerts know, and the ports
// are those of the programs.
func TestPrometheusScrapesWhatTheAlertsRead(t *testing.T) {
	var file struct {
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			JobName      string `json:"job_name"`
			MetricsPath  string `json:"metrics_path"`
			DNSSDConfigs []struct {
				Names []string
				Port  int
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "examples/prometheus.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.RuleFiles) != 1 || file.RuleFiles[0] != "alerts.yaml" {
		t.Errorf("rule_files: %v", file.RuleFiles)
	}
	project := compose(t)
	ports := map[string]int{"sallyport-issuer": 9101, "sallyport-gate": 9102, "sallyport-envoy": 10002}
	for _, job := range file.ScrapeConfigs {
		port, ok := ports[job.JobName]
		delete(ports, job.JobName)
		if !ok || len(job.DNSSDConfigs) != 1 || job.DNSSDConfigs[0].Port != port {
			t.Errorf("%s scrapes %+v", job.JobName, job.DNSSDConfigs)
			continue
		}
		if _, ok := project.Services[job.DNSSDConfigs[0].Names[0]]; !ok {
			t.Errorf("%s looks for %v, which is no service", job.JobName, job.DNSSDConfigs[0].Names)
		}
	}
	if len(ports) > 0 {
		t.Errorf("not scraped: %v", ports)
	}
	for name, port := range map[string]string{
		"issuer.yaml": ":9101", "authz.yaml": ":9102", "envoy.yaml": "port_value: 10002",
	} {
		if !strings.Contains(readFile(t, filepath.Join("deploy/config", name)), port) {
			t.Errorf("deploy/config/%s has no %s", name, port)
		}
	}
}

// TestEnvoyCountsWhatNoGateHasAnswered: the metric that the alert NoGateAnswers reads is the one by
// which the real Envoy, with the shipped settings, counts the requests that it refuses for want of
// a gate, and it is there before the first of them.
func TestEnvoyCountsWhatNoGateHasAnswered(t *testing.T) {
	settings := readFile(t, "deploy/config/envoy.yaml")
	ports := map[string]string{}
	var gate net.Listener
	for _, port := range []string{"9901", "10000", "10001", "10002", "10003", "8080"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // issuer, gate and service: a port on which nobody answers
		ports[port] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		switch port {
		case "9901", "10000", "10002":
			l.Close()
		case "10003":
			gate = l
		}
		settings = strings.ReplaceAll(settings, "port_value: "+port+"}", "port_value: "+ports[port]+"}")
	}
	settings = regexp.MustCompile(`address: (issuer|authz|upstream),`).
		ReplaceAllString(settings, "address: 127.0.0.1,")
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	envoy := exec.CommandContext(t.Context(), envoyBinary(t), "-c", file, "-l", "error",
		"--use-dynamic-base-id")
	envoy.Stderr = &log
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = envoy.Process.Kill() // it holds nothing that is wanted
		_ = envoy.Wait()
	})
	client := &http.Client{Timeout: 5 * time.Second}
	get := func(port, path string) (int, string) {
		answer, err := client.Get("http://127.0.0.1:" + ports[port] + path)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header.Get("x-sallyport-reason") + string(body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if status, _ := get("10002", "/ready"); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Envoy is not ready: %s", log.String())
		}
	}
	const metric = `envoy_http_ext_authz_error{envoy_http_conn_manager_prefix="gateway"}`
	if _, before := get("10002", "/stats/prometheus"); !strings.Contains(before, "\n"+metric+" 0\n") {
		t.Errorf("%s is not 0 at the start", metric)
	}
	// one that takes connections and says nothing; none
	for n, want := range []string{"gate_late", "no_gate"} {
		if status, said := get("10000", "/protected"); status != http.StatusServiceUnavailable ||
			!strings.HasPrefix(said, want) {
			t.Errorf("the answer is %d %s, expected %s", status, said, want)
		}
		if _, after := get("10002", "/stats/prometheus"); !strings.Contains(after,
			fmt.Sprintf("\n%s %d\n", metric, n+1)) {
			t.Errorf("%s is not %d after so many requests that no gate answered", metric, n+1)
		}
		gate.Close()
	}
}
