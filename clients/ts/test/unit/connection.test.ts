import assert from "node:assert/strict";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { Live, type LiveState } from "../../src/index.js";
import { backoffMs } from "../../src/backoff.js";
import { pause, Rig, state, until } from "./rig.js";

/** A token that expires in so many seconds. */
const jwt = (seconds: number, name = "x"): string =>
  ["{}", JSON.stringify({ exp: Math.floor(Date.now() / 1000) + seconds, name }), "s"].map((p) => Buffer.from(p).toString("base64url")).join(".");

test("waits double up to the largest and are spread over their whole window", () => {
  assert.deepEqual([0, 1, 2, 4, 5, 6, 60].map((n) => backoffMs(n, 500, 15_000, () => 1)), [500, 1000, 2000, 8000, 15_000, 15_000, 15_000]);
  assert.equal(backoffMs(3, 500, 15_000, () => 0), 0);
});

test("a silent connection is torn down and opened again, the second never before the first is closed", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t, { timing: { pingMs: 20 } });
  const first = await rig.conn();
  first.answersPings = false;
  const began = performance.now();
  const s = await state(live, (x) => x.phase === "waiting");
  assert.equal(s.reason, "silent");
  assert.ok(performance.now() - began > 55, "three pings were waited for");
  const second = await rig.conn();
  assert.ok(first.closedAt > 0, "the first is closed");
  await state(live, (x) => x.phase === "open");
  await pause(150);
  assert.equal(second.closedAt, 0, "one that answers stays");
  assert.equal(rig.conns.length, 2);
});

test("a close that takes its time holds back the next connection", async (t) => {
  const rig = await Rig.start(t);
  let openNow = 0;
  let most = 0;
  // The browser's WebSocket has no terminate, and its close event can be long in coming.
  class Slow extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      most = Math.max(most, ++openNow);
      this.on("close", () => openNow--);
    }
    override terminate(): void {
      setTimeout(() => super.terminate(), 150);
    }
  }
  const live = rig.live(t, { WebSocket: Slow, timing: { pingMs: 15, backoffFirstMs: 1, backoffMostMs: 2 } });
  (await rig.conn()).answersPings = false;
  await state(live, (x) => x.phase === "waiting");
  await pause(60);
  assert.equal(rig.conns.length, 1);
  await rig.conn();
  await state(live, (x) => x.phase === "open");
  assert.equal(most, 1);
});

test("a close that is never reported holds nothing back for long", async (t) => {
  const rig = await Rig.start(t);
  // As in a browser whose network is gone: no terminate, and the close event waits for a farewell that does not come.
  class Mute {
    binaryType = "arraybuffer";
    onopen: unknown = null;
    onmessage: unknown = null;
    onclose: unknown = null;
    onerror: unknown = null;
    readonly #inner: WebSocket;
    constructor(url: string, protocols: string[]) {
      this.#inner = new WebSocket(url, protocols);
      this.#inner.binaryType = "arraybuffer";
      this.#inner.on("open", () => (this.onopen as (() => void) | null)?.());
      this.#inner.onmessage = (e) => (this.onmessage as ((e: unknown) => void) | null)?.(e);
      t.after(() => this.#inner.terminate());
    }
    send(data: string): void {
      this.#inner.send(data);
    }
    close(): void {}
  }
  const live = rig.live(t, { WebSocket: Mute, timing: { pingMs: 15, backoffFirstMs: 1, backoffMostMs: 2, closeMs: 60 } });
  (await rig.conn()).answersPings = false;
  await state(live, (x) => x.phase === "waiting");
  await pause(20);
  assert.equal(rig.conns.length, 1, "a while is waited for the close");
  await rig.conn();
  await state(live, (x) => x.phase === "open");
});

test("a handshake that is never answered is given up", async (t) => {
  const sockets: Socket[] = [];
  const deaf = createServer((s) => sockets.push(s.on("error", () => {})));
  await new Promise<void>((resolve) => deaf.listen(0, "127.0.0.1", resolve));
  t.after(() => (sockets.forEach((s) => s.destroy()), deaf.close()));
  const url = `http://127.0.0.1:${(deaf.address() as AddressInfo).port}`;
  const live = new Live({ url, token: () => "t", WebSocket, timing: { pingMs: 20, backoffFirstMs: 5, backoffMostMs: 5 } });
  t.after(() => live.close());
  const s = await state(live, (x) => x.phase === "waiting");
  assert.equal(s.reason, "unreachable");
  await until("a second attempt", () => sockets.length >= 2);
});

test("while the server is away the waits grow within their windows, and the state says when the next attempt is", async (t) => {
  const rig = await Rig.start(t);
  await rig.stop();
  const live = rig.live(t, { timing: { backoffFirstMs: 10, backoffMostMs: 40 } });
  const waits: number[] = [];
  live.onState((s: LiveState) => {
    if (s.phase === "waiting" && s.retryAt !== undefined) waits.push(s.retryAt - Date.now());
    if (s.phase === "waiting") assert.equal(s.reason, "unreachable");
  });
  await until("five waits", () => waits.length >= 5);
  waits.forEach((w, n) => assert.ok(w <= Math.min(40, 10 * 2 ** n) + 1, `wait ${n}: ${w} ms`));
  await rig.listen(Number(new URL(rig.url).port));
  await rig.conn();
  await state(live, (x) => x.phase === "open");
});

test("a restart is waited out for as long as the server says, with jitter on top", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const conn = await rig.conn();
  conn.send({ op: "closing", reason: "restart", retry_after_ms: 200 });
  conn.socket.close(1012, "restart");
  const s = await state(live, (x) => x.phase === "waiting");
  const wait = s.retryAt! - s.since;
  assert.equal(s.reason, "restart");
  assert.ok(wait >= 200 && wait <= 221, `${wait} ms`);
  await pause(100);
  assert.equal(rig.conns.length, 1);
  await rig.conn();
});

for (const [code, reason] of [[1012, "restart"], [4008, "slow_consumer"], [4400, "bad_messages"], [4429, "too_many_messages"], [1011, "connection_lost"]] as const) {
  test(`close code ${code} without a word before it is ${reason}, and the client comes back`, async (t) => {
    const rig = await Rig.start(t);
    const live = rig.live(t);
    (await rig.conn()).socket.close(code);
    assert.equal((await state(live, (x) => x.phase === "waiting")).reason, reason);
    await rig.conn();
  });
}

test("an expired token is told, and the callback is asked for another", async (t) => {
  const rig = await Rig.start(t);
  const tokens = ["old", "new"];
  const live = rig.live(t, { token: () => tokens.shift()! });
  const conn = await rig.conn();
  assert.equal(conn.protocols[1], "bearer.old");
  conn.send({ op: "closing", reason: "token_expired", retry_after_ms: 0 });
  conn.socket.close(4001, "token_expired");
  assert.equal((await state(live, (x) => x.reason !== undefined)).reason, "token_expired");
  assert.equal((await rig.conn()).protocols[1], "bearer.new");
});

test("a token that has ended, and that the server's leeway for clocks still lets pass, is tried at growing intervals", async (t) => {
  const rig = await Rig.start(t); // its /me answers 200, as REST does within the leeway
  let told = 0;
  const live = rig.live(t, { token: () => jwt(-5), timing: { backoffFirstMs: 20, backoffMostMs: 60_000 } });
  live.onState((s: LiveState) => {
    if (s.phase === "waiting" && s.reason === "token_expired") told++;
    assert.notEqual(s.reason, "refused");
  });
  const end = Date.now() + 1_500;
  const closing = (async () => {
    for (;;) {
      const conn = await rig.conn();
      conn.send({ op: "closing", reason: "token_expired", retry_after_ms: 0 });
      conn.socket.close(4001, "token_expired");
    }
  })();
  closing.catch(() => {}); // the last one waited for does not come
  await pause(end - Date.now());
  assert.ok(told > 0, "the reason is told");
  assert.ok(rig.handshakes >= 2 && rig.handshakes < 30, `${rig.handshakes} handshakes in a second and a half`);
});

test("a token that the server does not take ends the attempts until there is another", async (t) => {
  const rig = await Rig.start(t);
  rig.refuse = 401;
  rig.me = { status: 401 };
  let token = "bad";
  const live = rig.live(t, { token: () => token });
  assert.equal((await state(live, (x) => x.phase === "closed")).reason, "unauthenticated");
  await pause(150);
  assert.equal(rig.handshakes, 1);
  rig.refuse = 0;
  token = "good";
  await live.renewToken();
  assert.equal((await rig.conn()).protocols[1], "bearer.good");
  await state(live, (x) => x.phase === "open");
});

test("a token that was replaced while it was refused is tried", async (t) => {
  const rig = await Rig.start(t);
  rig.refuse = 401;
  rig.me = { status: 401 };
  let n = 0;
  rig.live(t, {
    token: () => {
      if (n++ === 1) rig.refuse = 0;
      return `token${n}`;
    },
  });
  assert.equal((await rig.conn()).protocols[1], "bearer.token3");
});

test("a tenant that the token does not allow is told", async (t) => {
  const rig = await Rig.start(t);
  rig.refuse = 403;
  rig.me = { status: 403 };
  const live = rig.live(t);
  assert.equal((await state(live, (x) => x.phase === "closed")).reason, "forbidden");
});

test("a server that is full is left alone for as long as it says", async (t) => {
  const rig = await Rig.start(t);
  rig.refuse = 429;
  rig.me = { status: 429, headers: { "Retry-After": "2" } };
  const live = rig.live(t);
  const s = await state(live, (x) => x.retryAt !== undefined);
  assert.equal(s.reason, "busy");
  assert.ok(s.retryAt! - s.since >= 2000);
});

test("a server that answers but does not open is tried again", async (t) => {
  const rig = await Rig.start(t);
  rig.refuse = 404;
  const live = rig.live(t);
  assert.equal((await state(live, (x) => x.retryAt !== undefined)).reason, "refused");
  rig.refuse = 0;
  await rig.conn();
});

test("a renewed token goes over the open connection", async (t) => {
  const rig = await Rig.start(t);
  let token = "one";
  const live = rig.live(t, { token: () => token });
  const conn = await rig.conn();
  await state(live, (x) => x.phase === "open");
  await live.renewToken(); // the same token: nothing to say
  token = "two";
  const renewed = live.renewToken();
  assert.deepEqual(await conn.next("token"), { op: "token", token: "two" });
  conn.send({ op: "token", expires_at: new Date(Date.now() + 60_000).toISOString() });
  await renewed;
  token = "three";
  const refused = live.renewToken();
  await conn.next("token");
  conn.send({ op: "error", error: { code: "FORBIDDEN", message: "another subject", request_id: "q", details: {} } });
  await assert.rejects(refused, { code: "FORBIDDEN" });
  const again = live.renewToken();
  assert.deepEqual(await conn.next("token"), { op: "token", token: "three" }, "a token that was refused is not taken for the one in use");
  conn.send({ op: "token", expires_at: new Date(Date.now() + 60_000).toISOString() });
  await again;
  assert.equal(rig.conns.length, 1);
  assert.equal(live.state.phase, "open");
});

test("a token is renewed before it expires, however short it lasts and however late the next one is there", async (t) => {
  const rig = await Rig.start(t);
  const tokens = [jwt(6, "n0"), jwt(6, "n1")];
  let asked = 0;
  const live = rig.live(t, { token: () => tokens[[0, 0, 1][asked++] ?? 1]! });
  const conn = await rig.conn();
  const { exp } = JSON.parse(Buffer.from(tokens[0]!.split(".")[1]!, "base64url").toString()) as { exp: number };
  await state(live, (x) => x.phase === "open");
  assert.deepEqual(await conn.next("token"), { op: "token", token: tokens[1] }); // half of its time has passed, then half of the rest
  assert.ok(Date.now() < exp * 1000, "in time");
  assert.deepEqual([asked, live.state.phase], [3, "open"]);
});

test("a client that was closed stays closed, whatever was under way", async (t) => {
  const rig = await Rig.start(t);
  let give: (token: string) => void = () => {};
  const early = rig.live(t, { token: () => new Promise<string>((resolve) => (give = resolve)) });
  early.close();
  give("late");
  const live = rig.live(t);
  const conn = await rig.conn();
  await state(live, (x) => x.phase === "open");
  live.close();
  await until("it is closed", () => conn.closedAt > 0);
  await pause(100);
  assert.equal(rig.handshakes, 1);
  assert.deepEqual([live.state.phase, live.state.reason, early.state.phase], ["closed", "closed", "closed"]);
});
