package metric

// ID names a family of the table below. To add a metric, add its constant and its row.
type ID uint8

// The families. Labels are given in the order of the table.
const (
	Requests ID = iota
	RequestDuration
	UpstreamDuration
	Failures
	Connections
	ConnectionsTotal
	ConnectionsRefused
	ProxyHeaders
	BytesReceived
	BytesSent
	Sessions
	SessionDuration
	Datagrams
	DatagramsDropped
	DatagramSockets
	Pipes
	PipesRefused
	EndpointRequests
	EndpointFailures
	EndpointInFlight
	EndpointHealthy
	EndpointEjections
	HealthChecks
	UpstreamConnections
	UpstreamConnectionsIdle
	UpstreamConnectionsBound
	UpstreamConnectionsUnusable
	Retries
	RetryBudgetExhausted
	Hedges
	BackendQueue
	QueueWait
	QueueRefused
	Mirrored
	MirroredBytes
	DiscoveryLookups
	DiscoveryEndpoints
	DiscoveryAge
	AccessLogLines
	AccessLogDropped
	Strictness
	FieldsRemoved
	ConfigReloads
	ConfigGeneration
	ConfigLoaded
	TLSHandshakes
	CertificateReloads
	SeriesOverflow
	BuildInfo
	APIRequests
	Steps
	StepsCrowded
	StepBytes
	Authentications
	VerifiedCallers
	VerifiedBytes
	KeyFetches
	LimitDecisions
	BodyBytes
	BodiesRefused
	EncodersSkipped
	CacheRequests
	CacheEvents
	CacheBytes
	CacheObjects

	// Collected when the registry is written; nobody asks for handles of these.
	ProcessCPU
	ProcessOpenFDs
	ProcessMaxFDs
	ProcessResident
	ProcessVirtual
	ProcessStart
	GoGoroutines
	GoMaxProcs
	GoHeapAlloc
	GoHeapObjects
	GoHeapGoal
	GoMemory
	GoAllocBytes
	GoGCCycles
	GoGCPauseSum
	GoGCPauseMax

	numFamilies
)

// kind is the Prometheus type of a family.
type kind uint8

const (
	counter kind = iota
	gauge
	histogram
)

func (k kind) String() string {
	return [...]string{"counter", "gauge", "histogram"}[k]
}

// row describes a family.
type row struct {
	name   string
	help   string
	kind   kind
	labels []string
	// limit is the highest number of series, 0 for the registry's default. Families whose series are a product of two lists have a higher one.
	limit int
	// scraped families have one value each, which the registry reads when it is written.
	scraped bool
}

// table has one row for each family. It is never written.
var table = [numFamilies]row{
	Requests:        {name: "sluice_requests_total", kind: counter, labels: []string{"listener", "route", "code"}, limit: 50_000, help: "Requests answered, by status code."},
	RequestDuration: {name: "sluice_request_duration_seconds", kind: histogram, labels: []string{"route"}, help: "Time from the first byte of a request to the last byte of its answer."},
	UpstreamDuration: {name: "sluice_upstream_duration_seconds", kind: histogram, labels: []string{"backend"},
		help: "Time from the start of an attempt to the first byte of the endpoint's answer."},
	Failures:           {name: "sluice_failures_total", kind: counter, labels: []string{"route", "reason"}, limit: 50_000, help: "Requests that the gateway itself failed, by reason code."},
	Connections:        {name: "sluice_connections", kind: gauge, labels: []string{"listener"}, help: "Client connections open now."},
	ConnectionsTotal:   {name: "sluice_connections_total", kind: counter, labels: []string{"listener"}, help: "Client connections accepted."},
	ConnectionsRefused: {name: "sluice_connections_refused_total", kind: counter, labels: []string{"listener", "reason"}, help: "Client connections closed before they were served."},
	ProxyHeaders:       {name: "sluice_proxy_headers_total", kind: counter, labels: []string{"listener"}, help: "PROXY protocol headers of trusted proxies that were taken over."},
	BytesReceived:      {name: "sluice_bytes_received_total", kind: counter, labels: []string{"listener"}, help: "Bytes received from clients."},
	BytesSent:          {name: "sluice_bytes_sent_total", kind: counter, labels: []string{"listener"}, help: "Bytes sent to clients."},
	Sessions: {name: "sluice_sessions_total", kind: counter, labels: []string{"listener", "reason"}, limit: 20_000,
		help: "Connections and clients of layer 4 that have ended, by reason; none is the ordinary end."},
	SessionDuration:  {name: "sluice_session_duration_seconds", kind: histogram, labels: []string{"listener"}, help: "Time from the begin to the end of a connection or client of layer 4."},
	Datagrams:        {name: "sluice_datagrams_total", kind: counter, labels: []string{"listener", "direction"}, help: "Datagrams received from clients and sent to them."},
	Pipes:            {name: "sluice_splice_pipes", kind: gauge, labels: []string{"listener"}, help: "Pipes of the kernel that connections of layer 4 go through now, or that are kept for them."},
	PipesRefused:     {name: "sluice_splice_pipes_refused_total", kind: counter, labels: []string{"listener"}, help: "Times a transfer was copied because as many pipes as may were in use, or the system gave none."},
	DatagramSockets:  {name: "sluice_datagram_sockets_parked", kind: gauge, labels: []string{"listener"}, help: "Sockets of UDP clients that are gone, kept for new ones now."},
	DatagramsDropped: {name: "sluice_datagrams_dropped_total", kind: counter, labels: []string{"listener", "reason"}, limit: 20_000, help: "Datagrams that were not passed on, by reason."},
	EndpointRequests: {name: "sluice_endpoint_requests_total", kind: counter, labels: []string{"backend", "endpoint"}, help: "Attempts sent to an endpoint."},
	EndpointFailures: {name: "sluice_endpoint_failures_total", kind: counter, labels: []string{"backend", "endpoint", "reason"}, limit: 50_000,
		help: "Attempts that failed at an endpoint, by reason code."},
	EndpointInFlight:  {name: "sluice_endpoint_in_flight", kind: gauge, labels: []string{"backend", "endpoint"}, help: "Attempts that an endpoint is serving now."},
	EndpointHealthy:   {name: "sluice_endpoint_healthy", kind: gauge, labels: []string{"backend", "endpoint"}, help: "1 if an endpoint may be picked, 0 if a health check or an ejection keeps it out."},
	EndpointEjections: {name: "sluice_endpoint_ejections_total", kind: counter, labels: []string{"backend", "endpoint"}, help: "Times an endpoint was ejected because of its failures."},
	HealthChecks:      {name: "sluice_health_checks_total", kind: counter, labels: []string{"backend", "endpoint", "result"}, limit: 20_000, help: "Active health checks, by result."},
	UpstreamConnectionsBound: {name: "sluice_upstream_connections_bound", kind: gauge, labels: []string{"backend", "endpoint"},
		help: "Unused connections to an endpoint kept now for one client each, because of a PROXY header or a login."},
	UpstreamConnectionsUnusable: {name: "sluice_upstream_connections_unusable_total", kind: counter, labels: []string{"backend", "endpoint", "reason"}, limit: 50_000,
		help: "Unused connections that did not serve: stale (found closed), raced (closed while a request was on its way), spared (not trusted with a request that must not be repeated), or evicted (kept for one client, closed because there were too many)."},
	UpstreamConnections: {name: "sluice_upstream_connections_total", kind: counter, labels: []string{"backend", "endpoint", "state"}, limit: 20_000,
		help: "Connections used for attempts, by whether they were new or reused."},
	UpstreamConnectionsIdle: {name: "sluice_upstream_connections_idle", kind: gauge, labels: []string{"backend", "endpoint"}, help: "Connections to an endpoint kept for reuse now."},
	Retries:                 {name: "sluice_retries_total", kind: counter, labels: []string{"backend", "outcome"}, help: "Retries made, by outcome."},
	RetryBudgetExhausted:    {name: "sluice_retry_budget_exhausted_total", kind: counter, labels: []string{"backend"}, help: "Retries not made because the budget was used up."},
	Hedges:                  {name: "sluice_hedges_total", kind: counter, labels: []string{"backend", "outcome"}, help: "Second attempts for slow requests, by outcome: won (its answer was used), lost, or denied (the budget was used up, or no other endpoint was free)."},
	BackendQueue:            {name: "sluice_backend_queue", kind: gauge, labels: []string{"backend"}, help: "Requests that wait now because all endpoints have as many in flight as they may."},
	QueueWait:               {name: "sluice_queue_wait_seconds", kind: histogram, labels: []string{"backend"}, help: "Time that requests have waited for an endpoint, whether they got one or not. Requests that did not wait are not counted."},
	QueueRefused:            {name: "sluice_queue_refused_total", kind: counter, labels: []string{"backend", "reason"}, help: "Requests refused because the queue was full or they had waited too long, by reason code."},
	DiscoveryLookups:        {name: "sluice_discovery_lookups_total", kind: counter, labels: []string{"name", "result"}, limit: 20_000, help: "Lookups of a discovered name, by result: ok, partial (a question failed), empty (no such name or no addresses) or failed."},
	DiscoveryEndpoints:      {name: "sluice_discovery_endpoints", kind: gauge, labels: []string{"name"}, help: "Endpoints that a discovered name has now; they stay when lookups fail."},
	DiscoveryAge:            {name: "sluice_discovery_age_seconds", kind: gauge, labels: []string{"name"}, help: "Time since a lookup of a discovered name last found endpoints, or since the first lookup if none has."},
	Mirrored:                {name: "sluice_mirrored_total", kind: counter, labels: []string{"route", "outcome"}, help: "Copies of requests for a mirror, by what became of them."},
	MirroredBytes:           {name: "sluice_mirrored_bytes", kind: gauge, help: "Bytes of request bodies that are kept for copies now."},
	AccessLogLines:          {name: "sluice_access_log_lines_total", kind: counter, help: "Access-log lines written to their destination."},
	AccessLogDropped:        {name: "sluice_access_log_dropped_total", kind: counter, help: "Access-log lines dropped because their destination was too slow or failed."},
	Strictness:              {name: "sluice_strictness_total", kind: counter, labels: []string{"listener", "rule"}, help: "Requests that a listener with strict: warn let pass and would otherwise have refused, by reason."},
	FieldsRemoved:           {name: "sluice_fields_removed_total", kind: counter, labels: []string{"listener"}, help: "Request fields removed because they imitate a field that the gateway manages."},
	ConfigReloads:           {name: "sluice_config_reloads_total", kind: counter, labels: []string{"result"}, help: "Configuration reloads, by result."},
	ConfigGeneration:        {name: "sluice_config_generation", kind: gauge, help: "Number of the configuration that is being served, 1 for the first."},
	ConfigLoaded:            {name: "sluice_config_loaded_timestamp_seconds", kind: gauge, help: "When the configuration that is being served went live, in Unix time."},
	TLSHandshakes:           {name: "sluice_tls_handshakes_total", kind: counter, labels: []string{"listener", "result"}, help: "TLS handshakes with clients, by result."},
	CertificateReloads:      {name: "sluice_certificate_reloads_total", kind: counter, labels: []string{"result"}, help: "Certificate files that changed, by whether the new content was taken over or refused."},
	SeriesOverflow: {name: "sluice_metric_series_overflow_total", kind: counter, labels: []string{"family"}, limit: int(numFamilies),
		help: "Series not kept because their family was full; they are counted under the label value other."},
	APIRequests: {name: "sluice_api_requests_total", kind: counter, labels: []string{"api", "version", "consumer"}, limit: 50_000,
		help: "Requests for a version of an API, by consumer; the consumer is empty where the caller is none or not known."},
	Steps:           {name: "sluice_steps_total", kind: counter, labels: []string{"route", "step", "outcome"}, help: "Calls of compositions, by what became of them."},
	BodyBytes:       {name: "sluice_body_bytes", kind: gauge, help: "Bytes of bodies that policies hold in memory now."},
	BodiesRefused:   {name: "sluice_bodies_refused_total", kind: counter, help: "Bodies that found no room in memory."},
	EncodersSkipped: {name: "sluice_encoders_skipped_total", kind: counter, help: "Answers sent as they are because there was no room to compress them."},
	LimitDecisions:  {name: "sluice_limit_decisions_total", kind: counter, labels: []string{"policy", "result"}, help: "What limits decided: passed, refused, and how often without their store."},
	Authentications: {name: "sluice_authentications_total", kind: counter, labels: []string{"policy", "result"}, help: "Callers that identity policies let pass or refused; crowded are those of the refused whose passwords were not checked, because too many waited for that."},
	VerifiedCallers: {name: "sluice_verified_callers_total", kind: counter, labels: []string{"policy", "event"},
		help: "What became of the memory of verified credentials: hit, miss, and evicted to make room."},
	VerifiedBytes: {name: "sluice_verified_callers_bytes", kind: gauge, labels: []string{"policy"}, help: "Bytes of verified credentials that are remembered."},
	KeyFetches:    {name: "sluice_key_fetches_total", kind: counter, labels: []string{"policy", "result"}, help: "Attempts to get the keys of an issuer, by how they ended."},
	CacheRequests: {name: "sluice_cache_requests_total", kind: counter, labels: []string{"policy", "result"},
		help: "Requests that caches were asked about: hit, stale, miss (it fetched the answer), collapsed (it waited for the fetch of another), pass (it went on without the cache) or refused (it wanted a stored answer only)."},
	CacheEvents: {name: "sluice_cache_events_total", kind: counter, labels: []string{"policy", "event"},
		help: "What became of answers in caches: stored or not (unkept, too_large, broken, abandoned), validated, given although stale because there was no other (rescued), not for who had waited for it (alone), and evicted, invalidated or purged."},
	CacheBytes:   {name: "sluice_cache_bytes", kind: gauge, help: "Bytes of all answers in caches, with what is needed to find them."},
	CacheObjects: {name: "sluice_cache_objects", kind: gauge, help: "Answers in caches."},
	StepBytes:    {name: "sluice_step_bytes", kind: gauge, labels: []string{"route"}, help: "Bytes of answers that compositions hold in memory now."},
	StepsCrowded: {name: "sluice_steps_crowded_total", kind: counter, labels: []string{"route"}, help: "Answers to calls of compositions that found no room in memory."},
	BuildInfo:    {name: "sluice_build_info", kind: gauge, labels: []string{"version", "go"}, help: "Always 1; the labels say what is running."},

	ProcessCPU:      {name: "process_cpu_seconds_total", kind: counter, scraped: true, help: "User and system CPU time of the process."},
	ProcessOpenFDs:  {name: "process_open_fds", kind: gauge, scraped: true, help: "Open file descriptors."},
	ProcessMaxFDs:   {name: "process_max_fds", kind: gauge, scraped: true, help: "Highest number of open file descriptors allowed."},
	ProcessResident: {name: "process_resident_memory_bytes", kind: gauge, scraped: true, help: "Resident memory."},
	ProcessVirtual:  {name: "process_virtual_memory_bytes", kind: gauge, scraped: true, help: "Virtual memory."},
	ProcessStart:    {name: "process_start_time_seconds", kind: gauge, scraped: true, help: "When the process started, in Unix time."},
	GoGoroutines:    {name: "go_goroutines", kind: gauge, scraped: true, help: "Goroutines that exist now."},
	GoMaxProcs:      {name: "go_sched_gomaxprocs_threads", kind: gauge, scraped: true, help: "Threads that may run Go code at the same time."},
	GoHeapAlloc:     {name: "go_memstats_heap_alloc_bytes", kind: gauge, scraped: true, help: "Bytes of heap objects, live or not yet swept."},
	GoHeapObjects:   {name: "go_memstats_heap_objects", kind: gauge, scraped: true, help: "Heap objects, live or not yet swept."},
	GoHeapGoal:      {name: "go_memstats_next_gc_bytes", kind: gauge, scraped: true, help: "Heap size at which the next garbage collection ends."},
	GoMemory:        {name: "go_memstats_sys_bytes", kind: gauge, scraped: true, help: "Memory obtained from the system by the Go runtime."},
	GoAllocBytes:    {name: "go_memstats_alloc_bytes_total", kind: counter, scraped: true, help: "Bytes allocated on the heap since the start."},
	GoGCCycles:      {name: "go_gc_cycles_total", kind: counter, scraped: true, help: "Garbage collections completed."},
	GoGCPauseSum:    {name: "go_gc_pause_seconds_total", kind: counter, scraped: true, help: "Time the program was stopped by the garbage collector, estimated from the runtime's histogram."},
	GoGCPauseMax:    {name: "go_gc_pause_longest_seconds", kind: gauge, scraped: true, help: "Upper bound of the longest stop by the garbage collector since the start."},
}
