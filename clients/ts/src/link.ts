import { backoffMs } from "./backoff.js";
import { ApiError, errorOf, guarded } from "./error.js";
import type { ServerMessage } from "./wire.js";

/**
 * How the connection stands.
 *
 * `reason`, while it is not open: why the last one ended or could not be made. From the server: `token_expired`, `slow_consumer`,
 * `restart`, `bad_messages`, `too_many_messages`; from here: `unreachable`, `refused` (the server answers but does not open), `busy` (429 or 503),
 * `connection_lost`, `silent` (nothing heard for 15 s), `token_unavailable` (the callback failed). With phase `closed`, which only
 * `renewToken()` leaves: `unauthenticated`, `forbidden`; and for good: `closed`.
 */
export interface LinkState {
  phase: "connecting" | "open" | "waiting" | "closed";
  /** Since when in this phase; ms since 1970, this machine's clock. */
  since: number;
  /** With phase `waiting`: when the next attempt is made, once that is known. */
  retryAt?: number;
  reason?: string;
  /** Round trip of the last ping, ms. */
  rttMs?: number;
  /** The server's clock minus this machine's, ms; 0 until the first pong. */
  clockOffsetMs: number;
  /** When anything was heard last, ms since 1970, this machine's clock; 0 = never. */
  lastMessageAt: number;
}

/** Every time that the connection keeps to, ms. */
export interface Timing {
  /** Between pings; a connection on which nothing was heard for three of these is torn down. */
  pingMs: number;
  /** The window of the first wait, and the largest one. */
  backoffFirstMs: number;
  backoffMostMs: number;
  /** A connection that was open for so long lets the waits begin anew. */
  steadyMs: number;
  /** How long a connection that was torn down may take to report its end; after that the next one is made all the same. */
  closeMs: number;
}

const defaults: Timing = { pingMs: 5_000, backoffFirstMs: 500, backoffMostMs: 15_000, steadyMs: 5_000, closeMs: 2_000 };
const QUIET_PINGS = 3;
const RTT_SAMPLES = 8;
const PROBE_MS = 10_000;
const RENEW_ANSWER_MS = 10_000;
/** How long before it expires a token is renewed: a tenth of its time, or this, or half of what is left where it lasts less. */
const RENEW_EARLY_MS = 30_000;
/** Between attempts at a renewal, at the least: the callback may have no newer token yet. */
const RENEW_LEAST_MS = 1_000;
/** setTimeout takes no more. */
const TIMER_MOST_MS = 2 ** 31 - 1;

/** What we use of a WebSocket; the browser's and that of the package `ws` both fit. */
export interface WebSocketLike {
  binaryType: string;
  onopen: unknown;
  onclose: unknown;
  onerror: unknown;
  onmessage: unknown;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

export interface LinkOptions {
  url: string;
  token: () => string | Promise<string>;
  tenant?: string;
  encoding?: "json" | "bin";
  WebSocket?: WebSocketConstructor;
  timing?: Partial<Timing>;
}

export interface LinkEvents {
  opened(): void;
  closed(): void;
  text(text: string): void;
  binary(data: ArrayBuffer): void;
}

interface Renewal {
  resolve(): void;
  reject(e: unknown): void;
}

/**
 * The connection: opens it, keeps it, measures it, and opens it again. Never more than one WebSocket at a time: the next one is made
 * when the last one has reported its end, so that a slow server is not asked twice by everyone.
 */
export class Link {
  readonly #o: LinkOptions;
  readonly #on: LinkEvents;
  readonly #timing: Timing;
  readonly #listeners = new Set<(s: LinkState) => void>();
  #state: LinkState;
  #socket: WebSocketLike | null = null;
  #token = "";
  #attempt = 0;
  #turn = 0; // of connecting; an older turn's token comes too late
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ticker: ReturnType<typeof setInterval> | undefined;
  #renewer: ReturnType<typeof setTimeout> | undefined;
  #openedAt = 0; // of this socket, ms since 1970; 0 = it was not
  #quiet = 0; // pings since something was heard
  #ended = ""; // why this connection ends, as far as we know before it does
  #retryAfterMs = 0;
  #samples: { rtt: number; offset: number }[] = [];
  #renewal: Renewal | null = null;
  readonly #online = (): void => this.#hasten();

  constructor(o: LinkOptions, on: LinkEvents) {
    this.#o = o;
    this.#on = on;
    this.#timing = { ...defaults, ...o.timing };
    this.#state = { phase: "connecting", since: Date.now(), clockOffsetMs: 0, lastMessageAt: 0 };
    if (typeof globalThis.addEventListener === "function") globalThis.addEventListener("online", this.#online);
  }

  get state(): LinkState {
    return this.#state;
  }

  get open(): boolean {
    return this.#state.phase === "open";
  }

  onState(f: (s: LinkState) => void): () => void {
    this.#listeners.add(f);
    return () => void this.#listeners.delete(f);
  }

  start(): void {
    void this.#connect();
  }

  /** Sends where the connection is open. */
  send(message: object): void {
    if (this.open) this.#socket?.send(JSON.stringify(message));
  }

  close(): void {
    if (typeof globalThis.removeEventListener === "function") globalThis.removeEventListener("online", this.#online);
    this.#turn++;
    this.#ended = "closed";
    this.#rest();
    this.#enter("closed", "closed");
    this.#socket?.close(1000);
  }

  async renewToken(): Promise<void> {
    const { phase, reason } = this.#state;
    if (phase === "closed" && reason !== "closed") {
      this.#attempt = 0;
      return this.#connect();
    }
    if (phase !== "open") return; // the next connection asks for the token anyway
    const token = await this.#o.token();
    const former = this.#token;
    if (!this.open || token === former) return;
    this.#token = token;
    this.#renewal?.resolve(); // a newer one takes its place
    const answer = new Promise<void>((resolve, reject) => {
      this.#renewal = { resolve, reject };
    });
    const late = setTimeout(() => this.#renewed(new ApiError(0, { code: "TIMEOUT", message: "no answer to the new token" })), RENEW_ANSWER_MS);
    this.send({ op: "token", token });
    try {
      await answer;
    } catch (e) {
      if (this.#token === token) this.#token = former; // the one that the connection lives on
      throw e;
    } finally {
      clearTimeout(late);
    }
  }

  /** Takes the messages that are about the connection; false for the others. */
  take(m: ServerMessage): boolean {
    switch (m.op) {
      case "ping":
        this.send({ op: "pong", t: m.t });
        return true;
      case "pong":
        this.#pong(m.t, m.now);
        return true;
      case "token":
        this.#renewed();
        this.#renewAt(m.expiresAt);
        return true;
      case "closing":
        this.#ended = m.reason;
        this.#retryAfterMs = m.retryAfterMs;
        return true;
      case "error":
        if (m.id !== null || this.#renewal === null) return false;
        this.#renewed(new ApiError(0, m.error, m.retryAfterMs));
        return true;
      default:
        return false;
    }
  }

  async #connect(): Promise<void> {
    const turn = ++this.#turn;
    this.#rest();
    this.#enter("connecting", this.#state.reason);
    this.#ended = "";
    this.#retryAfterMs = 0;
    let socket: WebSocketLike;
    try {
      this.#token = await this.#o.token();
      if (turn !== this.#turn) return;
      socket = this.#dial();
    } catch {
      if (turn === this.#turn) this.#wait("token_unavailable", 0);
      return;
    }
    this.#socket = socket;
    this.#openedAt = 0;
    socket.binaryType = "arraybuffer";
    socket.onerror = () => {}; // its close follows and says as much
    socket.onopen = () => {
      if (this.#ended !== "") return;
      this.#openedAt = Date.now();
      this.#opened();
    };
    socket.onmessage = (e: { data: unknown }) => this.#heard(e.data);
    socket.onclose = (e: { code: number }) => this.#closed(e.code);
    this.#ticker = setInterval(() => this.#tick(), this.#timing.pingMs);
  }

  #dial(): WebSocketLike {
    const Socket = this.#o.WebSocket ?? (globalThis.WebSocket as unknown as WebSocketConstructor);
    const url = this.#o.url.replace(/^http/, "ws").replace(/\/+$/, "") + "/api/v1/ws";
    const protocols = [`starling.v1.${this.#o.encoding ?? "json"}`, `bearer.${this.#token}`];
    if (this.#o.tenant !== undefined) protocols.push(`tenant.${this.#o.tenant}`);
    return new Socket(url, protocols);
  }

  #opened(): void {
    this.#quiet = 0;
    this.#samples = [];
    this.#enter("open");
    this.#ping();
    this.#renewAt(expiryOf(this.#token));
    this.#on.opened();
  }

  #heard(data: unknown): void {
    if (!this.open) return; // torn down: what still comes belongs to nobody
    this.#quiet = 0;
    this.#state.lastMessageAt = Date.now();
    if (typeof data === "string") this.#on.text(data);
    else if (data instanceof ArrayBuffer) this.#on.binary(data);
  }

  // Counts pings, not time: after an hour's sleep a connection that lives is heard before the second ping.
  #tick(): void {
    if (++this.#quiet > QUIET_PINGS || (this.#quiet === QUIET_PINGS && !this.open)) return this.#drop(this.open ? "silent" : "unreachable");
    if (this.open) this.#ping();
  }

  #ping(): void {
    this.send({ op: "ping", t: performance.now() });
  }

  #pong(t: unknown, now: number): void {
    if (typeof t !== "number" || !Number.isFinite(now)) return;
    const rtt = performance.now() - t;
    if (!(rtt >= 0)) return;
    // The quickest of the last pings tells the clock best: its answer stood the least in any queue.
    this.#samples.push({ rtt, offset: now - (Date.now() - rtt / 2) });
    if (this.#samples.length > RTT_SAMPLES) this.#samples.shift();
    const best = this.#samples.reduce((a, b) => (b.rtt < a.rtt ? b : a));
    this.#state = { ...this.#state, rttMs: rtt, clockOffsetMs: best.offset };
    this.#tell();
  }

  // Ends a connection that is of no use; the next one waits for its close event.
  #drop(reason: string): void {
    const socket = this.#socket as (WebSocketLike & { terminate?: () => void }) | null;
    if (socket === null || this.#ended === "dropped") return;
    const opened = this.open;
    this.#rest();
    this.#enter("waiting", reason);
    this.#ended = "dropped";
    if (opened) this.#on.closed();
    if (typeof socket.terminate === "function") return socket.terminate();
    socket.close();
    // A browser waits a minute for a farewell that does not come from where nobody is.
    this.#retry = setTimeout(() => {
      socket.onopen = socket.onmessage = socket.onclose = null;
      this.#closed(1006);
    }, this.#timing.closeMs);
  }

  #closed(code: number): void {
    const opened = this.#openedAt;
    this.#socket = null;
    this.#rest();
    const { phase, reason } = this.#state;
    if (phase === "closed") return;
    if (phase === "open") this.#on.closed();
    if (opened > 0 && Date.now() - opened >= this.#timing.steadyMs) this.#attempt = 0;
    if (this.#ended === "dropped") return this.#wait(reason ?? "silent", 0);
    if (opened === 0) return void this.#probe();
    this.#wait(this.#ended || (closeReasons[code] ?? "connection_lost"), this.#retryAfterMs);
  }

  // A browser does not say why a WebSocket was not opened. The API does.
  async #probe(): Promise<void> {
    const turn = this.#turn;
    this.#enter("waiting", "unreachable");
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#token}` };
    if (this.#o.tenant !== undefined) headers["X-Tenant-ID"] = this.#o.tenant;
    let reason = "unreachable";
    let after = 0;
    try {
      const answer = await fetch(this.#o.url.replace(/\/+$/, "") + "/api/v1/me", { headers, signal: AbortSignal.timeout(PROBE_MS) });
      const error = answer.ok ? null : await errorOf(answer);
      reason = error === null ? "refused" : (refusals[error.status] ?? "refused");
      after = error?.retryAfterMs ?? 0;
      if (answer.ok) await answer.body?.cancel();
      if (reason === "forbidden" || (reason === "unauthenticated" && (await this.#o.token()) === this.#token)) {
        if (turn === this.#turn) this.#enter("closed", reason);
        return;
      }
    } catch {
      // No answer, or no token: as good as no server.
    }
    if (turn === this.#turn) this.#wait(reason, after);
  }

  #wait(reason: string, atLeastMs: number): void {
    const ms = atLeastMs + backoffMs(this.#attempt++, this.#timing.backoffFirstMs, this.#timing.backoffMostMs);
    this.#enter("waiting", reason, Date.now() + ms);
    this.#retry = setTimeout(() => void this.#connect(), ms);
  }

  // The network is back: no reason to wait out a long back-off.
  #hasten(): void {
    const { phase, reason = "", retryAt } = this.#state;
    if (phase !== "waiting" || retryAt === undefined || !["unreachable", "silent", "connection_lost"].includes(reason)) return;
    clearTimeout(this.#retry);
    this.#attempt = 0;
    this.#wait(reason, 0);
  }

  #renewAt(expiresAt: number): void {
    clearTimeout(this.#renewer);
    if (!Number.isFinite(expiresAt)) return;
    const left = expiresAt - (Date.now() + this.#state.clockOffsetMs);
    const ms = left - Math.max(left / 10, Math.min(RENEW_EARLY_MS, left / 2));
    // Where it fails to the end, the server ends the connection with 4001 and the callback is asked again.
    if (left <= RENEW_LEAST_MS) return;
    this.#renewer = setTimeout(() => {
      this.#renewAt(expiresAt); // until the server has taken another one
      void this.renewToken().catch(() => {});
    }, Math.min(TIMER_MOST_MS, Math.max(RENEW_LEAST_MS, ms)));
  }

  #renewed(e?: ApiError): void {
    const renewal = this.#renewal;
    this.#renewal = null;
    if (e) renewal?.reject(e);
    else renewal?.resolve();
  }

  #rest(): void {
    clearTimeout(this.#retry);
    clearInterval(this.#ticker);
    clearTimeout(this.#renewer);
    this.#quiet = 0;
    this.#renewed();
  }

  #enter(phase: LinkState["phase"], reason?: string, retryAt?: number): void {
    const { phase: before, since, clockOffsetMs, lastMessageAt, rttMs } = this.#state;
    this.#state = { phase, since: phase === before ? since : Date.now(), clockOffsetMs, lastMessageAt };
    if (reason !== undefined) this.#state.reason = reason;
    if (retryAt !== undefined) this.#state.retryAt = retryAt;
    if (rttMs !== undefined && phase === "open") this.#state.rttMs = rttMs;
    this.#tell();
  }

  #tell(): void {
    for (const f of this.#listeners) guarded(() => f(this.#state));
  }
}

const closeReasons: Record<number, string> = { 1009: "bad_messages", 1012: "restart", 4001: "token_expired", 4008: "slow_consumer", 4400: "bad_messages", 4429: "too_many_messages" };
const refusals: Record<number, string> = { 401: "unauthenticated", 403: "forbidden", 429: "busy", 503: "busy" };

/** When a JWT expires, ms since 1970; NaN where it does not say. */
function expiryOf(token: string): number {
  try {
    const payload = token.split(".")[1] ?? "";
    const claims = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))) as { exp?: unknown };
    return typeof claims.exp === "number" ? claims.exp * 1000 : NaN;
  } catch {
    return NaN;
  }
}
