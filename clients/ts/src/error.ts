/** One fault of a refused request: where (`body.items[3].x`) and what. The refused value is never echoed. */
export interface FieldFault {
  field: string;
  problem: string;
}

/** What an error says, as in the `error` of every error body of the server. */
export interface ErrorBody {
  code?: string;
  message?: string;
  request_id?: string;
  details?: Record<string, unknown>;
}

/**
 * Every failure of a call or a subscription.
 *
 * `code` is one of the server's stable codes (`INVALID_ARGUMENT`, `UNAUTHENTICATED`, `FORBIDDEN`, `NOT_FOUND`, `CONFLICT`,
 * `FAILED_PRECONDITION`, `RESOURCE_EXHAUSTED`, `TIMEOUT`, `INTERNAL_ERROR`, `UNAVAILABLE`), `NETWORK` where no answer came,
 * `HTTP_<status>` where something before the server answered with a body of its own, or `NOT_JSON` where that was a success.
 */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status; 0 where there was no HTTP answer: no network, or an error of the live channel. */
  readonly status: number;
  readonly code: string;
  /** Names the request in the server's log; empty without an answer. */
  readonly requestId: string;
  /** All faults of the request at once, for `INVALID_ARGUMENT`. */
  readonly fields: FieldFault[];
  /** When to come back, in ms, as far as the server said it. */
  readonly retryAfterMs: number | undefined;
  readonly details: Record<string, unknown>;

  constructor(status: number, body: ErrorBody, retryAfterMs?: number, cause?: unknown) {
    super(body.message ?? `the server answered ${status}`, cause === undefined ? undefined : { cause });
    this.status = status;
    this.code = body.code ?? `HTTP_${status}`;
    this.requestId = body.request_id ?? "";
    this.details = body.details ?? {};
    this.fields = Array.isArray(this.details["fields"]) ? (this.details["fields"] as FieldFault[]) : [];
    this.retryAfterMs = retryAfterMs;
  }
}

/** Reads the error body of an answer that is not 2xx; never throws. */
export async function errorOf(answer: Response): Promise<ApiError> {
  let body: ErrorBody = {};
  try {
    body = ((await answer.json()) as { error?: ErrorBody } | null)?.error ?? {};
  } catch {
    // Not JSON: a proxy's own page. The status says enough.
  }
  const requestId = answer.headers.get("X-Request-ID");
  if (requestId !== null) body = { request_id: requestId, ...body };
  return new ApiError(answer.status, body, retryAfter(answer.headers.get("Retry-After")));
}

/** Calls a handler of the caller's. What it throws is to be seen by the page or the process, not to stop what we are at. */
export function guarded(f: () => void): void {
  try {
    f();
  } catch (e) {
    const report = (globalThis as { reportError?: (e: unknown) => void }).reportError;
    if (report) report(e);
    else queueMicrotask(() => { throw e; });
  }
}

function retryAfter(value: string | null): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
