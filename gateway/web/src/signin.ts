// Signing in at an issuer, as the page does it: on the way there and back nothing of what is looked at is lost, tokens are renewed
// before they end, and all windows of a browser agree on who is signed in.
import { effect, signal } from "@preact/signals";
import { ApiError } from "starling-client";
import { faultText, notify } from "./doing.js";
import { begin, complete, farewell, isAnswer, refresh, SignInError, type Grant, type Issuer, type Pending } from "./oidc.js";
import { query } from "./route.js";
import { expired, kept, readDoors, refused, renewal, renewed, renewing, resume, session, signIn, signOut, type Doors } from "./session.js";

/** Where people sign in; null = not known yet. */
export const doors = signal<Doors | null>(null);
/** Why that is not known. */
export const doorsTrouble = signal("");
/** Somebody whom the issuer signed in and the server does not let in. */
export const stranded = signal<Grant | null>(null);

const PENDING = "starling.signing-in";
const LOCK = "starling.renewal";
/** Begins the state of a sign-in in a window of its own. */
const BESIDE = "beside.";
const RENEW_BEFORE_MS = 120_000;
const RENEW_AT_LEAST_MS = 1_000;
const AGAIN_MS = [2_000, 5_000, 10_000, 20_000, 30_000];
/** A token that is refused so soon after it was given is refused for what it is. */
const SOON_MS = 10_000;

/** What windows of one browser tell each other. */
type Word =
  | { kind: "answer"; state: string; answer: string }
  | { kind: "renewed"; was: string; grant: Grant }
  | { kind: "left"; issuer: string; subject: string };

const words = new BroadcastChannel("starling");
const tell = (w: Word): void => words.postMessage(w);
let waiting: { state: string; take: (answer: URLSearchParams) => void } | null = null;

/** An answer that an issuer sent here, with the sign-in that it belongs to; null = to none of this window. */
export interface Arrival {
  answer: URLSearchParams;
  pending: (Pending & { tenant: string }) | null;
}

/** Takes an issuer's answer out of the address, and puts back the place that was left for it. */
export function arrival(): Arrival | null {
  const answer = [location.hash, location.search].map((s) => new URLSearchParams(s.slice(1))).find(isAnswer);
  if (!answer) return null;
  const left = JSON.parse(sessionStorage.getItem(PENDING) ?? "null") as (Pending & { place: string; tenant: string }) | null;
  const pending = left?.state === answer.get("state") ? left : null;
  if (pending) sessionStorage.removeItem(PENDING); // an answer is taken once
  history.replaceState(null, "", pending?.place ?? location.pathname);
  return { answer, pending };
}

/** Takes up what this tab has: an issuer's answer, a session, a link with a token. Gives false where this window was there only to sign in. */
export async function start(from: Arrival | null): Promise<boolean> {
  if (from?.answer.get("state")?.startsWith(BESIDE)) {
    tell({ kind: "answer", state: from.answer.get("state")!, answer: from.answer.toString() });
    close();
    return false;
  }
  const asked = loadDoors();
  if (from?.pending) {
    await asked;
    await accept(issuerOf(from.pending.issuer), from.pending, from.answer, from.pending.tenant);
    return true;
  }
  const before = kept();
  if (before?.grant?.refreshToken && before.grant.until - RENEW_AT_LEAST_MS < Date.now()) {
    await asked;
    await resumeLate(before.grant, before.tenant);
  } else await resume();
  if (!from) return true;
  const foreign = "an answer came that belongs to no sign-in of this window: nobody was signed in by it";
  if (!session.peek()) throw new SignInError("wrong", foreign);
  notify("failed", foreign);
  return true;
}

// The token has ended while nobody was here.
async function resumeLate(grant: Grant, tenant: string): Promise<void> {
  try {
    const fresh = await refresh(issuerOf(grant.issuer), grant, clock());
    await signIn(fresh.accessToken, { tenant, grant: fresh });
  } catch (e) {
    if (!(e instanceof SignInError && e.kind === "away")) signOut();
    throw e;
  }
}

/** Asks the server where people sign in. */
export async function loadDoors(): Promise<void> {
  doorsTrouble.value = "";
  try {
    doors.value = await readDoors();
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    doorsTrouble.value = faultText(e);
  }
}

function clock(): { skewMs: number } {
  return { skewMs: doors.peek()?.skewMs ?? 0 };
}

function issuerOf(issuer: string): Issuer {
  const of = doors.peek()?.issuers.find((i) => i.issuer === issuer);
  if (!of) throw new SignInError("wrong", doorsTrouble.peek() === "" ? "the server no longer signs people in there" : doorsTrouble.peek());
  return of;
}

async function accept(of: Issuer, pending: Pending, answer: URLSearchParams, tenant: string): Promise<void> {
  const grant = await complete(of, pending, answer, clock());
  stranded.value = null;
  try {
    await signIn(grant.accessToken, { tenant, grant });
  } catch (e) {
    if (e instanceof ApiError && (e.status === 401 || e.status === 403)) stranded.value = grant;
    throw e;
  }
}

const home = (): string => `${location.origin}/`;

/** Leaves for the issuer, which sends people back to where they are now. */
export async function signInHere(of: Issuer): Promise<void> {
  const { url, pending } = await begin(of, home());
  const q = query.peek();
  sessionStorage.setItem(PENDING, JSON.stringify({ ...pending, place: location.pathname + (q === "" ? "" : `?${q}`), tenant: session.peek()?.tenant ?? "" }));
  location.assign(url);
}

/** Signs in in a window of its own, while all here stays as it is. Where the browser opens none, as {@link signInHere}. */
export async function signInBeside(of: Issuer): Promise<void> {
  const beside = open("", "starling-sign-in", "popup,width=480,height=680"); // at once: a browser lets only a press open windows
  if (!beside) return signInHere(of);
  try {
    const { url, pending } = await begin(of, home(), BESIDE + crypto.randomUUID());
    beside.location.replace(url);
    const answer = await new Promise<URLSearchParams>((take) => (waiting = { state: pending.state, take }));
    await accept(of, pending, answer, session.peek()?.tenant ?? "");
  } catch (e) {
    beside.close();
    throw e;
  }
}

/** Signs out: here, in the other windows, and at the issuer. */
export async function leave(grant: Grant | null = session.peek()?.grant ?? null): Promise<string> {
  signOut();
  stranded.value = null;
  if (!grant) return "";
  tell({ kind: "left", issuer: grant.issuer, subject: grant.subject });
  try {
    const where = await farewell(issuerOf(grant.issuer), grant, home());
    // By a form, so that the token is in no address.
    if (where) send(where.url, where.fields);
    return "";
  } catch (e) {
    if (!(e instanceof SignInError)) throw e;
    return `Signed out here, but not there: ${e.message}.`;
  }
}

function send(url: string, fields: Record<string, string>): void {
  const form = document.createElement("form");
  form.method = "post";
  form.action = url;
  form.hidden = true;
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}

let tries = 0;
let renewedAt = -Infinity;

/** Renews the sign-in now. What goes wrong is in `renewal`. */
export async function renew(): Promise<void> {
  const meant = session.peek()?.grant;
  if (!meant?.refreshToken) return;
  // Windows that were duplicated have the same refresh token, which may be used once.
  await navigator.locks.request(LOCK, async () => {
    const grant = session.peek()?.grant;
    if (!grant?.refreshToken || grant.refreshToken !== meant.refreshToken) return;
    let fresh: Grant;
    try {
      fresh = await refresh(issuerOf(grant.issuer), grant, clock());
    } catch (e) {
      if (!(e instanceof SignInError)) throw e;
      if (session.peek()?.grant === grant) unrenewed(e, grant);
      return;
    }
    if (session.peek()?.grant !== grant) return;
    tell({ kind: "renewed", was: grant.refreshToken, grant: fresh });
    await take(fresh);
  });
}

function unrenewed(e: SignInError, grant: Grant): void {
  const ended = e.kind === "ended";
  tries++;
  renewal.value = { kind: ended ? "ended" : "away", text: e.message };
  if (refused.peek() === grant.accessToken || grant.until <= Date.now()) expired.value = true;
  else if (ended) renewing.value = true;
}

/** Goes on with what the issuer gave. */
async function take(fresh: Grant): Promise<void> {
  tries = 0;
  renewedAt = performance.now();
  renewed(fresh); // before all else: the token before is used up
  try {
    await signIn(fresh.accessToken, { tenant: session.peek()?.tenant ?? "", grant: fresh });
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    if (e.status === 401 || e.status === 403) notTaken();
    else renewal.value = null; // the server is away: the page says so, and who somebody is stays as it was
  }
}

function notTaken(): void {
  renewal.value = { kind: "ended", text: "the server does not take what the sign-in service gave" };
  expired.value = true;
}

/** Renews what was given before it ends, and listens to the other windows. */
export function followSignIn(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stops = [
    effect(() => {
      const grant = session.value?.grant;
      const state = renewal.value;
      clearTimeout(timer);
      if (!grant?.refreshToken || state?.kind === "ended" || !Number.isFinite(grant.until)) return;
      const left = grant.until - Date.now();
      const ms = state ? AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1]! : Math.max(RENEW_AT_LEAST_MS, left - Math.min(RENEW_BEFORE_MS, left / 2));
      timer = setTimeout(() => void renew(), Math.min(2 ** 31 - 1, ms));
    }),
    effect(() => {
      const s = session.peek();
      if (refused.value === "" || refused.value !== s?.token) return;
      if (performance.now() - renewedAt < SOON_MS && s.grant && s.grant.until > Date.now()) notTaken();
      else void renew();
    }),
  ];
  // A machine that slept has slept through its timers.
  const awake = (): void => {
    const until = session.peek()?.grant?.until ?? NaN;
    if (!document.hidden && renewal.peek()?.kind !== "ended" && until - Date.now() < RENEW_BEFORE_MS / 4) void renew();
  };
  const heard = (e: MessageEvent<Word>): void => hear(e.data);
  addEventListener("online", awake);
  document.addEventListener("visibilitychange", awake);
  words.addEventListener("message", heard);
  return () => {
    stops.forEach((stop) => stop());
    clearTimeout(timer);
    removeEventListener("online", awake);
    document.removeEventListener("visibilitychange", awake);
    words.removeEventListener("message", heard);
  };
}

function hear(w: Word): void {
  const grant = session.peek()?.grant;
  switch (w.kind) {
    case "answer":
      if (waiting?.state === w.state) waiting.take(new URLSearchParams(w.answer));
      return;
    case "renewed":
      if (grant?.refreshToken === w.was) void take(w.grant);
      return;
    case "left":
      if (grant?.issuer !== w.issuer || grant.subject !== w.subject) return;
      signOut();
      notify("info", "You signed out in another window");
  }
}
