package message

// Reason says in one word why the proxy itself failed or refused a request. It stands in the
// Sluice-Reason field, the problem document, the access log and the metrics. The zero value
// means that nothing went wrong.
type Reason uint8

// The reasons. reasonTable gives each its word, status and title.
const (
	ReasonNone Reason = iota

	// The request could not be read.
	RequestLineInvalid
	RequestLineTooLong
	VersionUnsupported
	MethodInvalid
	MethodNotSupported
	HeaderInvalid
	HeaderNameInvalid
	HeaderValueInvalid
	HeaderFolded
	HeaderTooLarge
	HeaderTooMany
	HeaderRepeated
	LineEndInvalid
	LengthInvalid
	LengthConflict
	TransferEncodingInvalid
	ChunkInvalid
	BodyTooLarge
	HostInvalid
	PathInvalid
	PathAmbiguous
	PathValueInvalid
	ExpectationUnsupported
	UpgradeInvalid
	HeaderTimeout
	BodyTimeout

	// The request was read and refused.
	NoRoute
	MethodNotAllowed
	ExpressionFailed
	AddressRefused
	FaultInjected

	// Who calls.
	TokenMissing
	TokenInvalid
	TokenExpired
	TokenNotYetValid
	IssuerWrong
	AudienceWrong
	KeyUnknown
	JWKSUnavailable
	APIKeyMissing
	APIKeyUnknown
	CredentialsMissing
	CredentialsWrong
	ClientCertMissing
	ClientCertInvalid
	AuthUnavailable
	AuthRefused
	NotAllowed
	ConsumerUnknown

	// How often.
	RateLimited
	QuotaExceeded
	ConcurrencyExceeded
	LimitStoreUnavailable

	// Which version, in what shape.
	VersionUnknown
	VersionNotOffered
	VersionSunset
	ContentTypeUnsupported
	BodyNotJSON
	BodyPathInvalid
	JSONInvalid
	JSONTooDeep
	JSONTooLarge
	JSONDuplicateKey
	SchemaViolated
	TransformFailed
	ResponseNotJSON
	ResponseTooLarge
	ResponseEncodingUnsupported
	IdempotencyKeyMissing
	IdempotencyKeyInvalid
	IdempotencyKeyReused
	IdempotencyInProgress

	// Made of parts, or kept.
	StepFailed
	NotCached

	// The backend could not be reached or did not answer well.
	NoHealthyEndpoint
	QueueFull
	QueueTimeout
	UpstreamConnectRefused
	UpstreamConnectTimeout
	UpstreamConnectFailed
	UpstreamTLSFailed
	UpstreamReset
	UpstreamTimeoutFirstByte
	UpstreamTimeoutIdle
	UpstreamTimeoutPerTry
	UpstreamResponseInvalid
	UpstreamResponseTooLarge
	UpstreamBodyBroken

	// A connection that is passed on unread.
	HelloInvalid
	HelloTimeout
	ServerNameUnknown
	ALPNUnknown
	IdleTimeout
	LifetimeReached
	ClientReset

	// The exchange as a whole.
	RouteTimeout
	ClientClosed
	ClientTimeout
	TooManyConnections
	ShuttingDown
	Internal

	reasonCount
)

type reasonRow struct {
	word   string
	status int
	title  string
	detail string
}

// reasonTable is read-only: the one place that maps a reason to its word and status.
var reasonTable = [reasonCount]reasonRow{
	ReasonNone:                  {"", 0, "", ""},
	RequestLineInvalid:          {"request_line_invalid", 400, "Bad Request", "The request line is not a method, a target and a version, separated by single spaces."},
	RequestLineTooLong:          {"request_line_too_long", 414, "URI Too Long", "The request line is longer than this listener accepts."},
	VersionUnsupported:          {"version_unsupported", 505, "HTTP Version Not Supported", "This listener speaks HTTP/1.0 and HTTP/1.1 here."},
	MethodInvalid:               {"method_invalid", 400, "Bad Request", "The method is not a token."},
	MethodNotSupported:          {"method_not_supported", 501, "Not Implemented", "The method is not supported here."},
	HeaderInvalid:               {"header_invalid", 400, "Bad Request", "A header line has no colon, or white space before it."},
	HeaderNameInvalid:           {"header_name_invalid", 400, "Bad Request", "A field name is empty or holds a byte that no name may hold."},
	HeaderValueInvalid:          {"header_value_invalid", 400, "Bad Request", "A field value holds a byte that no value may hold."},
	HeaderFolded:                {"header_folded", 400, "Bad Request", "A header line is continued on a second line."},
	HeaderTooLarge:              {"header_too_large", 431, "Request Header Fields Too Large", "The header is larger than this listener accepts."},
	HeaderTooMany:               {"header_too_many", 431, "Request Header Fields Too Large", "The header has more fields than this listener accepts."},
	HeaderRepeated:              {"header_repeated", 400, "Bad Request", "A field that decides stands more than once."},
	LineEndInvalid:              {"line_end_invalid", 400, "Bad Request", "A line does not end with CR LF."},
	LengthInvalid:               {"length_invalid", 400, "Bad Request", "Content-Length is not one plain decimal number."},
	LengthConflict:              {"length_conflict", 400, "Bad Request", "The length of the body is stated in two ways."},
	TransferEncodingInvalid:     {"transfer_encoding_invalid", 400, "Bad Request", "Transfer-Encoding is malformed or not allowed here."},
	ChunkInvalid:                {"chunk_invalid", 400, "Bad Request", "The chunked body is malformed."},
	BodyTooLarge:                {"body_too_large", 413, "Content Too Large", "The body is larger than is accepted here."},
	HostInvalid:                 {"host_invalid", 400, "Bad Request", "The request needs exactly one valid host."},
	PathInvalid:                 {"path_invalid", 400, "Bad Request", "The path holds a broken escape or a byte that no path may hold."},
	PathAmbiguous:               {"path_ambiguous", 400, "Bad Request", "The path could be read in two ways."},
	PathValueInvalid:            {"path_value_invalid", 400, "Bad Request", "A value for the path is empty or a dot segment."},
	ExpectationUnsupported:      {"expectation_unsupported", 417, "Expectation Failed", "Only the expectation 100-continue is supported."},
	UpgradeInvalid:              {"upgrade_invalid", 400, "Bad Request", "The upgrade request is malformed."},
	HeaderTimeout:               {"header_timeout", 408, "Request Timeout", "The header did not arrive in time."},
	BodyTimeout:                 {"body_timeout", 408, "Request Timeout", "The body stopped arriving."},
	NoRoute:                     {"no_route", 404, "Not Found", "No route matches the request."},
	MethodNotAllowed:            {"method_not_allowed", 405, "Method Not Allowed", "The path is known, but not with this method."},
	ExpressionFailed:            {"expression_failed", 403, "Forbidden", "A value that the configuration needs is missing from the request."},
	AddressRefused:              {"address_refused", 403, "Forbidden", "Requests from this address are not accepted here."},
	FaultInjected:               {"fault_injected", 503, "Service Unavailable", "The failure is part of a test."},
	TokenMissing:                {"token_missing", 401, "Unauthorized", "The request needs a token."},
	TokenInvalid:                {"token_invalid", 401, "Unauthorized", "The token is malformed, or its signature is wrong."},
	TokenExpired:                {"token_expired", 401, "Unauthorized", "The token has expired."},
	TokenNotYetValid:            {"token_not_yet_valid", 401, "Unauthorized", "The token is not valid yet."},
	IssuerWrong:                 {"issuer_wrong", 401, "Unauthorized", "The token is of another issuer."},
	AudienceWrong:               {"audience_wrong", 401, "Unauthorized", "The token is for another audience."},
	KeyUnknown:                  {"key_unknown", 401, "Unauthorized", "The token is signed with a key that is not known."},
	JWKSUnavailable:             {"jwks_unavailable", 503, "Service Unavailable", "The keys of the issuer are not available yet."},
	APIKeyMissing:               {"api_key_missing", 401, "Unauthorized", "The request needs an API key."},
	APIKeyUnknown:               {"api_key_unknown", 401, "Unauthorized", "The API key is not known."},
	CredentialsMissing:          {"credentials_missing", 401, "Unauthorized", "The request needs a name and a password."},
	CredentialsWrong:            {"credentials_wrong", 401, "Unauthorized", "The name or the password is wrong."},
	ClientCertMissing:           {"client_cert_missing", 401, "Unauthorized", "The request needs a client certificate."},
	ClientCertInvalid:           {"client_cert_invalid", 401, "Unauthorized", "The client certificate is not accepted here."},
	AuthUnavailable:             {"auth_unavailable", 503, "Service Unavailable", "Who may call cannot be asked at the moment."},
	AuthRefused:                 {"auth_refused", 403, "Forbidden", "The authorization service refused the request."},
	NotAllowed:                  {"not_allowed", 403, "Forbidden", "The caller may not do this."},
	ConsumerUnknown:             {"consumer_unknown", 403, "Forbidden", "The caller is no known consumer."},
	RateLimited:                 {"rate_limited", 429, "Too Many Requests", "There were too many requests in a short time."},
	QuotaExceeded:               {"quota_exceeded", 429, "Too Many Requests", "The quota of this period is used up."},
	ConcurrencyExceeded:         {"concurrency_exceeded", 503, "Service Unavailable", "As many requests as may are being served."},
	LimitStoreUnavailable:       {"limit_store_unavailable", 503, "Service Unavailable", "The limits cannot be checked at the moment."},
	VersionUnknown:              {"version_unknown", 404, "Not Found", "There is no such version of the API."},
	VersionNotOffered:           {"version_not_offered", 404, "Not Found", "This version of the API does not have the resource."},
	VersionSunset:               {"version_sunset", 410, "Gone", "This version of the API has ended."},
	ContentTypeUnsupported:      {"content_type_unsupported", 415, "Unsupported Media Type", "The type of the body is not accepted here."},
	BodyNotJSON:                 {"body_not_json", 415, "Unsupported Media Type", "The body needs to be JSON here."},
	BodyPathInvalid:             {"body_path_invalid", 422, "Unprocessable Content", "The body does not have the shape that is changed here."},
	JSONInvalid:                 {"json_invalid", 400, "Bad Request", "The body is not well-formed JSON."},
	JSONTooDeep:                 {"json_too_deep", 422, "Unprocessable Content", "The body is nested more deeply than is accepted here."},
	JSONTooLarge:                {"json_too_large", 422, "Unprocessable Content", "The body has more members or longer numbers than are accepted here."},
	JSONDuplicateKey:            {"json_duplicate_key", 422, "Unprocessable Content", "An object of the body has a member twice."},
	SchemaViolated:              {"schema_violated", 422, "Unprocessable Content", "The body does not follow its schema."},
	TransformFailed:             {"transform_failed", 502, "Bad Gateway", "The content could not be brought into its shape."},
	ResponseNotJSON:             {"response_not_json", 502, "Bad Gateway", "The backend's answer says that it is JSON and is not."},
	ResponseTooLarge:            {"response_too_large", 502, "Bad Gateway", "The backend's answer is larger than can be changed here."},
	ResponseEncodingUnsupported: {"response_encoding_unsupported", 502, "Bad Gateway", "The backend's answer is encoded in a way that was not asked for."},
	IdempotencyKeyMissing:       {"idempotency_key_missing", 400, "Bad Request", "The request needs an idempotency key."},
	IdempotencyKeyInvalid:       {"idempotency_key_invalid", 400, "Bad Request", "The idempotency key is not 1 to 255 visible characters."},
	IdempotencyKeyReused:        {"idempotency_key_reused", 422, "Unprocessable Content", "The idempotency key was used for another request."},
	IdempotencyInProgress:       {"idempotency_in_progress", 409, "Conflict", "The first request with this idempotency key has not ended yet."},
	StepFailed:                  {"step_failed", 502, "Bad Gateway", "A part that the answer needs could not be had."},
	NotCached:                   {"not_cached", 504, "Gateway Timeout", "There is no stored answer, and the request asks for nothing else."},
	NoHealthyEndpoint:           {"no_healthy_endpoint", 503, "Service Unavailable", "No endpoint of the backend is available."},
	QueueFull:                   {"queue_full", 503, "Service Unavailable", "As many requests as may are waiting for the backend."},
	QueueTimeout:                {"queue_timeout", 503, "Service Unavailable", "The request has waited too long for the backend."},
	UpstreamConnectRefused:      {"upstream_connect_refused", 502, "Bad Gateway", "The backend refused the connection."},
	UpstreamConnectTimeout:      {"upstream_connect_timeout", 504, "Gateway Timeout", "The backend did not accept the connection in time."},
	UpstreamConnectFailed:       {"upstream_connect_failed", 502, "Bad Gateway", "The backend could not be reached."},
	UpstreamTLSFailed:           {"upstream_tls_failed", 502, "Bad Gateway", "The backend and the gateway could not agree on an encrypted connection."},
	UpstreamReset:               {"upstream_reset", 502, "Bad Gateway", "The backend closed the connection before it answered."},
	UpstreamTimeoutFirstByte:    {"upstream_timeout_first_byte", 504, "Gateway Timeout", "The backend did not begin to answer in time."},
	UpstreamTimeoutIdle:         {"upstream_timeout_idle", 504, "Gateway Timeout", "The backend stopped sending."},
	UpstreamTimeoutPerTry:       {"upstream_timeout_per_try", 504, "Gateway Timeout", "The backend did not answer within the time of one try."},
	UpstreamResponseInvalid:     {"upstream_response_invalid", 502, "Bad Gateway", "The backend's answer is malformed."},
	UpstreamResponseTooLarge:    {"upstream_response_too_large", 502, "Bad Gateway", "The header of the backend's answer is too large."},
	UpstreamBodyBroken:          {"upstream_body_broken", 502, "Bad Gateway", "The backend's answer ended before its end."},
	HelloInvalid:                {"hello_invalid", 400, "Bad Request", "The connection does not begin with a TLS ClientHello."},
	HelloTimeout:                {"hello_timeout", 408, "Request Timeout", "The TLS ClientHello did not arrive in time."},
	ServerNameUnknown:           {"server_name_unknown", 421, "Misdirected Request", "No backend is known for the server name."},
	ALPNUnknown:                 {"alpn_unknown", 421, "Misdirected Request", "No backend is known for the protocols that the client offers."},
	IdleTimeout:                 {"idle_timeout", 408, "Request Timeout", "Nothing was sent in either direction for too long."},
	LifetimeReached:             {"lifetime_reached", 408, "Request Timeout", "The connection was open for as long as it may be."},
	ClientReset:                 {"client_reset", 400, "Bad Request", "The client reset the connection."},
	RouteTimeout:                {"route_timeout", 504, "Gateway Timeout", "The request took longer than its route allows."},
	ClientClosed:                {"client_closed", 499, "Client Closed Request", "The client left before the answer was complete."},
	ClientTimeout:               {"client_timeout", 408, "Request Timeout", "The client stopped reading the answer."},
	TooManyConnections:          {"too_many_connections", 503, "Service Unavailable", "The listener has as many connections as it may."},
	ShuttingDown:                {"shutting_down", 503, "Service Unavailable", "The proxy is shutting down."},
	Internal:                    {"internal", 500, "Internal Server Error", "The proxy failed."},
}

// String returns the word of the reason: [a-z0-9_]+, "" for ReasonNone.
func (r Reason) String() string { return reasonTable[r].word }

// Status returns the HTTP status that answers a request which failed for this reason.
func (r Reason) Status() int { return reasonTable[r].status }

// Title returns the short text of the status.
func (r Reason) Title() string { return reasonTable[r].title }

// Detail returns one sentence for the caller. It never names an endpoint, a file or a type.
func (r Reason) Detail() string { return reasonTable[r].detail }

// Reasons calls yield with every reason but ReasonNone.
func Reasons(yield func(Reason) bool) {
	for r := ReasonNone + 1; r < reasonCount; r++ {
		if !yield(r) {
			return
		}
	}
}
