// The protocol of signing in elsewhere: OpenID Connect's authorization code flow with PKCE, as a public client. Nothing here
// knows of the page: what is kept, shown or sent away is for signin.ts.
import * as oauth from "oauth4webapi";

/** A service that signs people in, as the server names it. */
export interface Issuer {
  issuer: string;
  client_id: string;
  name: string;
}

/** What an issuer gave. */
export interface Grant {
  issuer: string;
  /** Whom the issuer means by it. */
  subject: string;
  accessToken: string;
  /** null: the issuer does not renew. */
  refreshToken: string | null;
  /** Says to the issuer, at the end, whose session it is. */
  idToken: string;
  /** When the access token ends, ms since 1970 by this machine's clock; NaN where the issuer does not say. */
  until: number;
}

/** A sign-in that has begun: what its answer is held against. */
export interface Pending {
  issuer: string;
  state: string;
  nonce: string;
  verifier: string;
  redirectUri: string;
}

/**
 * Why somebody could not be signed in. `away`: the issuer does not answer, trying again helps; `refused`: it says no;
 * `ended`: it no longer renews; `wrong`: what came is not what was asked for; `insecure`: this page may not do it at all.
 */
export class SignInError extends Error {
  override readonly name = "SignInError";
  readonly kind: "away" | "refused" | "ended" | "wrong" | "insecure";

  constructor(kind: SignInError["kind"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

const ANSWER_MS = 10_000;
/** Clocks that are this far apart count as the same, s. */
const TOLERANCE_S = 30;
const TEXT = 200;

/** What an issuer's error code means to a person. */
const meanings: Record<string, string> = {
  access_denied: "access was denied",
  login_required: "it wants a new sign-in",
  temporarily_unavailable: "it is busy: try again",
  server_error: "it has a fault: try again",
  invalid_scope: "it does not give this page what it asks for",
  unauthorized_client: "it does not know this page",
  invalid_client: "it does not know this page",
  invalid_request: "it does not understand this page",
  invalid_grant: "what it gave was used already or has expired",
};

/** How far this machine's clock is behind the server's, ms: whose own clock is wrong signs in all the same. */
export interface Clock {
  skewMs: number;
}

const known = new Map<string, Promise<oauth.AuthorizationServer>>();

/** The issuer's discovery document, asked for once. */
export function discover(of: Issuer): Promise<oauth.AuthorizationServer> {
  let found = known.get(of.issuer);
  if (!found) {
    found = ask(of, async (o) => {
      const url = new URL(of.issuer);
      return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, o));
    });
    known.set(of.issuer, found);
    found.catch(() => known.delete(of.issuer)); // the next one asks again
  }
  return found;
}

/** Begins: where to go, and what to hold the answer against. */
export async function begin(of: Issuer, redirectUri: string, state = oauth.generateRandomState()): Promise<{ url: string; pending: Pending }> {
  if (!globalThis.isSecureContext && globalThis.isSecureContext !== undefined) {
    throw new SignInError("insecure", "signing in needs HTTPS, and this page came without");
  }
  const as = await discover(of);
  if (as.authorization_endpoint === undefined) throw new SignInError("wrong", `${of.name} has no page to sign in`);
  const verifier = oauth.generateRandomCodeVerifier(), nonce = oauth.generateRandomNonce();
  const url = new URL(as.authorization_endpoint);
  const scopes = ["profile", "email"].filter((s) => as.scopes_supported?.includes(s));
  const asked = {
    response_type: "code", client_id: of.client_id, redirect_uri: redirectUri, scope: ["openid", ...scopes].join(" "), state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
    // What stands after # is sent to no server, so that the code is in nobody's log.
    ...(as.response_modes_supported?.includes("fragment") ? { response_mode: "fragment" } : {}),
  };
  for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
  return { url: url.href, pending: { issuer: of.issuer, state, nonce, verifier, redirectUri } };
}

/** Whether these are the parameters of an issuer's answer. */
export function isAnswer(p: URLSearchParams): boolean {
  return p.has("state") && (p.has("code") || p.has("error"));
}

/** Takes the issuer's answer: checks it, and changes its code for tokens. */
export async function complete(of: Issuer, pending: Pending, answer: URLSearchParams, clock: Clock): Promise<Grant> {
  const as = await discover(of);
  return ask(of, async (o) => {
    const checked = oauth.validateAuthResponse(as, client(of, clock), answer, pending.state);
    const began = Date.now();
    const response = await oauth.authorizationCodeGrantRequest(as, client(of, clock), oauth.None(), checked, pending.redirectUri, pending.verifier, o);
    const got = await oauth.processAuthorizationCodeResponse(as, client(of, clock), response, { expectedNonce: pending.nonce, requireIdToken: true });
    return grantOf(of, got, began, null);
  });
}

/** Changes the refresh token for new tokens; the old one may not be used again. */
export async function refresh(of: Issuer, grant: Grant, clock: Clock): Promise<Grant> {
  const as = await discover(of);
  try {
    return await ask(of, async (o) => {
      const began = Date.now();
      const response = await oauth.refreshTokenGrantRequest(as, client(of, clock), oauth.None(), grant.refreshToken ?? "", o);
      return grantOf(of, await oauth.processRefreshTokenResponse(as, client(of, clock), response), began, grant);
    });
  } catch (e) {
    if (e instanceof SignInError && e.kind === "refused") throw new SignInError("ended", `${of.name} no longer renews this sign-in`, e);
    throw e;
  }
}

/** Where the issuer's own session is ended, and with which fields of a form; null where it cannot be. Asks anew whether the issuer is there at all. */
export async function farewell(of: Issuer, grant: Grant, backTo: string): Promise<{ url: string; fields: Record<string, string> } | null> {
  known.delete(of.issuer);
  const as = await discover(of);
  if (as.end_session_endpoint === undefined) return null;
  return { url: as.end_session_endpoint, fields: { id_token_hint: grant.idToken, client_id: of.client_id, post_logout_redirect_uri: backTo } };
}

function client(of: Issuer, clock: Clock): oauth.Client {
  return { client_id: of.client_id, token_endpoint_auth_method: "none", [oauth.clockSkew]: Math.round(clock.skewMs / 1000), [oauth.clockTolerance]: TOLERANCE_S };
}

function grantOf(of: Issuer, got: oauth.TokenEndpointResponse, began: number, before: Grant | null): Grant {
  if (got.token_type !== "bearer") throw new SignInError("wrong", `${of.name} gave a token of another kind`);
  const subject = oauth.getValidatedIdTokenClaims(got)?.sub ?? before?.subject ?? "";
  if (before && subject !== before.subject) throw new SignInError("wrong", `${of.name} renewed the sign-in of somebody else`);
  return {
    issuer: of.issuer, subject, accessToken: got.access_token,
    refreshToken: got.refresh_token ?? before?.refreshToken ?? null, idToken: got.id_token ?? before?.idToken ?? "",
    until: got.expires_in === undefined ? NaN : began + got.expires_in * 1000,
  };
}

interface Asking {
  signal: () => AbortSignal;
  [oauth.allowInsecureRequests]: boolean;
  [oauth.customFetch]: (url: string, init: object) => Promise<Response>;
}

/** Calls the issuer. Whatever goes wrong comes out as a SignInError that a person can read. */
async function ask<T>(of: Issuer, call: (o: Asking) => Promise<T>): Promise<T> {
  try {
    return await call({
      signal: () => AbortSignal.timeout(ANSWER_MS),
      // Whoever set up an issuer without HTTPS meant it: one on the same machine.
      [oauth.allowInsecureRequests]: of.issuer.startsWith("http:"),
      [oauth.customFetch]: async (url, init) => {
        const answer = await fetch(url, { ...init, credentials: "omit", cache: "no-store" }).catch((e: unknown) => {
          throw new SignInError("away", `${of.name} cannot be reached`, e);
        });
        if (answer.status >= 500 || answer.status === 429) throw new SignInError("away", `${of.name} is out of order (${answer.status})`);
        return answer;
      },
    });
  } catch (e) {
    throw said(of, e);
  }
}

function said(of: Issuer, e: unknown): SignInError {
  if (e instanceof SignInError) return e;
  if (e instanceof oauth.AuthorizationResponseError || e instanceof oauth.ResponseBodyError) {
    const meaning = meanings[e.error] ?? plain(e.error);
    const more = plain(e.error_description ?? "");
    return new SignInError("refused", `${of.name} refused: ${meaning}${more === "" ? "" : ` (${more})`}`, e);
  }
  return new SignInError("wrong", `what ${of.name} answered does not hold: ${e instanceof Error ? plain(e.message) : "unknown"}`, e);
}

/** Others' words, short and on one line. */
function plain(text: string): string {
  return text.replace(/\p{C}/gu, " ").slice(0, TEXT).trim();
}
