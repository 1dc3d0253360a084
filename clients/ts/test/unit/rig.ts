// A scripted server in the test's own process: a WebSocket endpoint that does what the test says, and GET /api/v1/me.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { Live, type LiveOptions, type LiveState } from "../../src/index.js";

export type Message = Record<string, unknown> & { op: string };

/** One connection as the server sees it. */
export class Conn {
  readonly received: Message[] = [];
  readonly protocols: string[];
  closedAt = 0;
  answersPings = true;
  #waiting: (() => void)[] = [];

  readonly socket: WebSocket;

  constructor(socket: WebSocket, request: IncomingMessage) {
    this.socket = socket;
    this.protocols = (request.headers["sec-websocket-protocol"] ?? "").split(/, ?/);
    socket.on("message", (data) => {
      const m = JSON.parse(String(data)) as Message;
      if (m.op === "ping" && this.answersPings) this.send({ op: "pong", t: m["t"], now: new Date().toISOString() });
      if (m.op !== "ping") this.received.push(m);
      this.#waiting.splice(0).forEach((f) => f());
    });
    socket.on("close", () => (this.closedAt = performance.now()));
  }

  send(m: object | Uint8Array): void {
    this.socket.send(m instanceof Uint8Array ? m : JSON.stringify(m));
  }

  /** The next message with this op; taken out. */
  async next(op: string): Promise<Message> {
    for (;;) {
      const i = this.received.findIndex((m) => m.op === op);
      if (i >= 0) return this.received.splice(i, 1)[0]!;
      await within(15_000, `no ${op} came`, new Promise<void>((resolve) => this.#waiting.push(resolve)));
    }
  }

  subscribed(id: unknown, seq: number, recovered = false): void {
    this.send({ op: "subscribed", id, epoch: "e1", seq, recovered });
  }

  snapshot(id: unknown, seq: number, items: object[], more = false): void {
    this.send({ op: "snapshot", id, seq, items, more });
  }

  delta(id: unknown, seq: number, ...events: { type: string; data: object }[]): void {
    this.send({ op: "delta", id, seq, events, coalesced: 0 });
  }
}

export class Rig {
  readonly conns: Conn[] = [];
  /** What GET /api/v1/me answers. */
  me: { status: number; headers?: Record<string, string> } = { status: 200 };
  /** What a handshake is refused with; 0 = it is not. */
  refuse = 0;
  handshakes = 0;
  url = "";
  #taken = 0;
  #waiting: (() => void)[] = [];
  readonly #http: Server;
  readonly #ws = new WebSocketServer({ noServer: true, handleProtocols: (p) => [...p][0] ?? false });

  constructor() {
    this.#http = createServer((q, a) => this.#answer(q, a));
    this.#http.on("upgrade", (request, socket, head) => {
      this.handshakes++;
      if (this.refuse > 0) return void socket.end(`HTTP/1.1 ${this.refuse} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      this.#ws.handleUpgrade(request, socket, head, (ws) => {
        this.conns.push(new Conn(ws, request));
        this.#waiting.splice(0).forEach((f) => f());
      });
    });
  }

  static async start(t: TestContext): Promise<Rig> {
    const rig = new Rig();
    await rig.listen(0);
    t.after(() => rig.stop());
    return rig;
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve) => this.#http.listen(port, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const c of this.#ws.clients) c.terminate();
    this.#http.closeAllConnections();
    await new Promise<void>((resolve) => this.#http.close(() => resolve()));
  }

  /** The next connection that nobody has taken yet. */
  async conn(): Promise<Conn> {
    while (this.conns.length <= this.#taken) {
      await within(15_000, "nobody connected", new Promise<void>((resolve) => this.#waiting.push(resolve)));
    }
    return this.conns[this.#taken++]!;
  }

  live(t: TestContext, o: Partial<LiveOptions> = {}): Live {
    const timing = { pingMs: 100, backoffFirstMs: 20, backoffMostMs: 100, steadyMs: 50, ...o.timing };
    const live = new Live({ url: this.url, token: () => "tok", WebSocket, ...o, timing });
    t.after(() => live.close());
    watched(live);
    return live;
  }

  #answer(request: IncomingMessage, answer: ServerResponse): void {
    const { status, headers } = this.me;
    assert.equal(request.url, "/api/v1/me");
    answer.writeHead(status, { "Content-Type": "application/json", ...headers });
    answer.end(JSON.stringify(status === 200 ? {} : { error: { code: "X", message: "no", request_id: "r", details: {} } }));
  }
}

export async function within<T>(ms: number, what: string, p: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(what)), ms)));
  return Promise.race([p, late]).finally(() => clearTimeout(timer));
}

/** Waits until `f` holds. */
export async function until(what: string, f: () => boolean): Promise<void> {
  const end = performance.now() + 15_000;
  while (!f()) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await pause(2);
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const histories = new WeakMap<Live, LiveState[]>();

/** The next state like this that the client is in or has been in since the last one that was waited for, however short. */
export async function state(live: Live, what: (s: LiveState) => boolean): Promise<LiveState> {
  const history = watched(live);
  let found: LiveState | undefined;
  await until(`state: ${what}; it is ${JSON.stringify(live.state)}`, () => {
    while (found === undefined && history.length > 0) {
      const s = history.shift()!;
      if (what(s)) found = s;
    }
    return found !== undefined;
  });
  return found!;
}

function watched(live: Live): LiveState[] {
  let history = histories.get(live);
  if (history === undefined) {
    history = [live.state];
    histories.set(live, history);
    live.onState((s) => history!.push(s));
  }
  return history;
}
