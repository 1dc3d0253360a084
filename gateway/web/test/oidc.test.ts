// The answers that no honest issuer gives: what the page does with a forged one. (The honest ones are in e2e/issuer.spec.ts.)
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test as base } from "@playwright/test";
import { begin, complete, farewell, isAnswer, refresh, SignInError, type Grant, type Issuer } from "../src/oidc.js";

const clock = { skewMs: 0 };
const SUBJECT = "f0e1";

/** An issuer that answers as a test wants. */
class Forger {
  readonly #server: Server;
  readonly is: Issuer;
  claims: Record<string, unknown> = {};
  answer: Record<string, unknown> = {};
  status = 200;
  discovery: Record<string, unknown> = {};
  asked: URLSearchParams[] = [];

  private constructor(server: Server) {
    this.#server = server;
    this.is = { issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, client_id: "page", name: "North" };
  }

  static async start(): Promise<Forger> {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const f = new Forger(server);
    server.on("request", (req: IncomingMessage, res) => {
      let body = "";
      req.on("data", (b: Buffer) => (body += b.toString()));
      req.on("end", () => {
        const well = req.url === "/.well-known/openid-configuration";
        if (!well) f.asked.push(new URLSearchParams(body));
        res.writeHead(well ? 200 : f.status, { "Content-Type": "application/json" });
        res.end(JSON.stringify(well ? f.document() : f.tokens()));
      });
    });
    return f;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  document(): Record<string, unknown> {
    const at = this.is.issuer;
    return {
      issuer: at, authorization_endpoint: `${at}/authorize`, token_endpoint: `${at}/token`, end_session_endpoint: `${at}/end`,
      scopes_supported: ["openid", "email"], ...this.discovery,
    };
  }

  tokens(): Record<string, unknown> {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: this.is.issuer, aud: "page", sub: SUBJECT, iat: now, exp: now + 60, ...this.claims };
    const part = (o: object): string => Buffer.from(JSON.stringify(o)).toString("base64url");
    const id_token = `${part({ alg: "RS256" })}.${part(claims)}.c2ln`;
    return this.status === 200 ? { access_token: "access", token_type: "Bearer", expires_in: 60, refresh_token: "fresh", id_token, ...this.answer } : this.answer;
  }
}

const test = base.extend<{ forger: Forger }>({
  forger: async ({}, use) => {
    const f = await Forger.start();
    await use(f);
    f.stop();
  },
});

const BACK = "https://starling.example.test/";
const answerTo = (state: string): URLSearchParams => new URLSearchParams({ state, code: "code" });

async function signIn(f: Forger): Promise<Grant> {
  const { pending } = await begin(f.is, BACK);
  f.claims = { nonce: pending.nonce, ...f.claims };
  return complete(f.is, pending, answerTo(pending.state), clock);
}

async function fails(p: Promise<unknown>): Promise<SignInError> {
  const e = await p.then(() => null, (e: unknown) => e);
  expect(e).toBeInstanceOf(SignInError);
  return e as SignInError;
}

test("a sign-in asks with a challenge, a state and a nonce of its own, and takes what belongs to them", async ({ forger }) => {
  const first = new URL((await begin(forger.is, BACK)).url).searchParams, second = new URL((await begin(forger.is, BACK)).url).searchParams;
  expect(Object.fromEntries(first)).toMatchObject({ response_type: "code", client_id: "page", redirect_uri: BACK, scope: "openid email", code_challenge_method: "S256" });
  for (const name of ["state", "nonce", "code_challenge"]) {
    expect(first.get(name)!.length).toBeGreaterThanOrEqual(43);
    expect(first.get(name)).not.toBe(second.get(name));
  }
  expect(first.has("code_verifier")).toBe(false);
  const grant = await signIn(forger);
  expect(grant).toMatchObject({ issuer: forger.is.issuer, subject: SUBJECT, accessToken: "access", refreshToken: "fresh" });
  expect(Math.abs(grant.until - Date.now() - 60_000)).toBeLessThan(30_000);
  expect(forger.asked[0]!.get("code_verifier")!.length).toBeGreaterThanOrEqual(43);
});

for (const [what, claims] of [
  ["for another nonce", { nonce: "another" }],
  ["of another issuer", { iss: "https://elsewhere.example.test" }],
  ["for another client", { aud: "somebody-else" }],
  ["for several, this one not authorised", { aud: ["page", "other"], azp: "other" }],
  ["that has ended", { exp: 1 }],
  ["without an end", { exp: undefined }],
  ["without a subject", { sub: undefined }],
] as const) {
  test(`an ID token ${what} signs nobody in`, async ({ forger }) => {
    forger.claims = claims;
    expect((await fails(signIn(forger))).kind).toBe("wrong");
  });
}

test("an answer without an ID token, or with another kind of token, signs nobody in", async ({ forger }) => {
  for (const answer of [{ id_token: undefined }, { token_type: "DPoP" }, { access_token: undefined }]) {
    forger.answer = answer;
    expect((await fails(signIn(forger))).kind).toBe("wrong");
  }
});

test("an answer to another state, or of another issuer, is not taken, and its code is sent nowhere", async ({ forger }) => {
  forger.discovery = { authorization_response_iss_parameter_supported: true };
  const { pending } = await begin(forger.is, BACK);
  const own = answerTo(pending.state), mixed = answerTo(pending.state), twice = answerTo(pending.state);
  mixed.set("iss", "https://elsewhere.example.test");
  twice.append("state", "another");
  for (const answer of [answerTo("another"), own, mixed, twice]) expect((await fails(complete(forger.is, pending, answer, clock))).kind).toBe("wrong");
  expect(forger.asked).toEqual([]);
});

test("what an issuer says against it is told in words, without control characters", async ({ forger }) => {
  const { pending } = await begin(forger.is, BACK);
  const no = new URLSearchParams({ state: pending.state, error: "access_denied", error_description: "Not\r\nyou\u202e" });
  const e = await fails(complete(forger.is, pending, no, clock));
  expect([e.kind, e.message]).toEqual(["refused", "North refused: access was denied (Not  you)"]);
});

test("an issuer that is out of order is away; one that is another is not asked", async ({ forger }) => {
  const { pending } = await begin(forger.is, BACK);
  forger.status = 503;
  expect(await fails(complete(forger.is, pending, answerTo(pending.state), clock))).toMatchObject({ kind: "away", message: "North is out of order (503)" });
  const nobody = { ...forger.is, issuer: "http://127.0.0.1:1" };
  expect(await fails(begin(nobody, BACK))).toMatchObject({ kind: "away", message: "North cannot be reached" });
  const other = await Forger.start();
  other.discovery = { issuer: "https://elsewhere.example.test" };
  expect((await fails(begin(other.is, BACK))).kind).toBe("wrong");
  other.stop();
});

test("a renewal rotates the token, keeps what is not given anew, and is for the same person", async ({ forger }) => {
  const grant = await signIn(forger);
  forger.answer = { refresh_token: "fresher", access_token: "next", id_token: undefined };
  const next = await refresh(forger.is, grant, clock);
  expect(forger.asked.at(-1)!.get("refresh_token")).toBe("fresh");
  expect(next).toMatchObject({ accessToken: "next", refreshToken: "fresher", idToken: grant.idToken, subject: SUBJECT });
  forger.answer = {};
  forger.claims = { sub: "somebody-else" };
  expect((await fails(refresh(forger.is, next, clock))).kind).toBe("wrong");
  forger.status = 400;
  forger.answer = { error: "invalid_grant" };
  expect((await fails(refresh(forger.is, next, clock))).kind).toBe("ended");
  forger.status = 502;
  expect((await fails(refresh(forger.is, next, clock))).kind).toBe("away");
});

test("a clock that is wrong signs in by the server's", async ({ forger }) => {
  const hour = 3_600_000, then = Math.floor((Date.now() - hour) / 1000);
  forger.claims = { iat: then, exp: then + 60 };
  await fails(signIn(forger));
  const { pending } = await begin(forger.is, BACK);
  forger.claims = { ...forger.claims, nonce: pending.nonce };
  await complete(forger.is, pending, answerTo(pending.state), { skewMs: -hour });
});

test("the end of a session is told to the issuer by fields, none of them in the address", async ({ forger }) => {
  const grant = await signIn(forger);
  const end = await farewell(forger.is, grant, BACK);
  expect(end).toEqual({ url: `${forger.is.issuer}/end`, fields: { id_token_hint: grant.idToken, client_id: "page", post_logout_redirect_uri: BACK } });
});

test("an answer is one with a state and a code or an error", () => {
  for (const [text, is] of [["code=a&state=b", true], ["error=a&state=b", true], ["code=a", false], ["state=b", false], ["tab=robots", false], ["token=a", false]] as const) {
    expect(isAnswer(new URLSearchParams(text)), text).toBe(is);
  }
});
