import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "starling-client";
import { SignInError, type Issuer } from "../oidc.js";
import { developmentSignIn, expired, renewal, renewing, session, signIn } from "../session.js";
import { doors, doorsTrouble, leave, loadDoors, renew, signInBeside, signInHere, stranded } from "../signin.js";
import { faultText } from "../doing.js";
import { playerShown } from "../playback.js";

/** What did not go as it should when somebody signed out. */
const leftBehind = signal("");

/** Signs out, here and at the issuer. */
export function leaving(): void {
  leftBehind.value = "";
  void leave(session.peek()?.grant ?? stranded.peek()).then((trouble) => (leftBehind.value = trouble));
}

/** Signing in: where the server says, with a token, and in development with one press. */
function Doors({ trouble = "", again = false }: { trouble?: string; again?: boolean }) {
  const [token, setToken] = useState("");
  const [fault, setFault] = useState(trouble);
  const [busy, setBusy] = useState(false);
  const [beside, setBeside] = useState(false);
  const enter = async (act: () => Promise<void>): Promise<void> => {
    setFault("");
    setBusy(true);
    try {
      await act();
    } catch (e) {
      if (!(e instanceof ApiError || e instanceof SignInError)) throw e;
      setBeside(false);
      setFault(e instanceof SignInError ? `Signing in failed: ${e.message}.` : e.status === 401 ? "The server does not take this token: it is wrong or has expired." : faultText(e));
    } finally {
      setBusy(false);
    }
  };
  const go = (at: Issuer): void => {
    setBeside(again);
    void enter(() => (again ? signInBeside(at) : signInHere(at)));
  };
  const issuers = doors.value?.issuers ?? [];
  const tenant = again ? (session.value?.tenant ?? "") : "";
  const form = (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        void enter(() => signIn(token, { tenant }));
      }}
    >
      <label for="token">Access token</label>
      <textarea id="token" rows={4} required spellcheck={false} autocomplete="off" value={token} aria-describedby="sign-in-fault" onInput={(e) => setToken(e.currentTarget.value)} />
      <p class="row">
        <button class={issuers.length === 0 ? "primary" : ""} type="submit" disabled={busy && !beside}>{again ? "Go on" : issuers.length === 0 ? "Sign in" : "Use the token"}</button>
      </p>
    </form>
  );
  return (
    <div class="doors">
      {issuers.map((at) => (
        <button key={at.issuer} class="primary wide" disabled={busy && !beside} onClick={() => go(at)}>
          {again ? "Sign in again" : "Sign in"}{issuers.length > 1 ? ` with ${at.name}` : ""}
        </button>
      ))}
      {issuers.length === 1 && !again && <p class="hint">You give your password to {issuers[0]!.name} alone.</p>}
      {beside && busy && <p class="hint" role="status">Sign in in the window that has opened; all here stays as it is.</p>}
      <p id="sign-in-fault" class="fault" role="alert">{fault}</p>
      {stranded.value && <p><button onClick={leaving}>Sign in as somebody else</button></p>}
      {doorsTrouble.value !== "" && <p class="hint">Where to sign in is not known: {doorsTrouble.value}. <button class="link" onClick={() => void loadDoors()}>Ask again</button></p>}
      {issuers.length === 0 ? form : <details class="by-token"><summary>Use an access token instead</summary>{form}</details>}
      {doors.value?.mode === "dev" && (
        <fieldset>
          <legend>This is a development server: enter the demo as</legend>
          <p class="row">
            {["viewer", "operator", "admin"].map((role) => (
              <button key={role} type="button" disabled={busy} onClick={() => void enter(() => developmentSignIn(role))}>{role}</button>
            ))}
          </p>
        </fieldset>
      )}
    </div>
  );
}

/** The first view of somebody who is not signed in. */
export function Login({ trouble }: { trouble: string }) {
  return (
    <main class="login">
      <div class="card">
        <h1><img src="/starling.svg" alt="" width="28" height="28" /> Starling</h1>
        <p>Sign in to see the warehouse.</p>
        {leftBehind.value !== "" && <p class="hint" role="status">{leftBehind.value}</p>}
        <Doors trouble={trouble === "" ? "" : `Signing in failed: ${trouble}.`} />
        <p class="hint">Or <button class="link" onClick={() => (playerShown.value = true)}>play a recording of a scenario</button>: that needs no sign-in.</p>
      </div>
    </main>
  );
}

/** Asks for a new sign-in without taking the page away. `lastSeen`: when what is seen was so; `until`: when the sign-in ends. */
export function Expired({ lastSeen, until }: { lastSeen: string; until: string }) {
  const box = useRef<HTMLDialogElement>(null);
  const open = session.value !== null && (expired.value || renewing.value);
  const must = expired.value;
  const why = renewal.value;
  useEffect(() => {
    if (open && !box.current?.open) box.current?.showModal();
    if (!open) box.current?.close();
  }, [open]);
  const closed = (): void => {
    renewing.value = false;
    // A browser lets Esc through when it is pressed often enough; without a token there is nothing to go back to.
    if (expired.peek() && session.peek()) box.current?.showModal();
  };
  const reason = why ? `${why.text[0]!.toUpperCase()}${why.text.slice(1)}. ` : "";
  return (
    <dialog ref={box} class="card ask" aria-labelledby="expired-title" onCancel={(e) => must && e.preventDefault()} onClose={closed}>
      {open && (
        <>
          <h2 id="expired-title">{must ? "Your sign-in has expired" : why ? "Your sign-in ends soon" : "Give another token"}</h2>
          <p>
            {reason}
            {must
              ? `What you see is from ${lastSeen} and no longer moves. Sign in again to go on where you are.`
              : why ? `You can go on until ${until}. Sign in again to stay.` : "The page goes on where it is, with the rights of the new token."}
          </p>
          {why?.kind === "away" && <p><button onClick={() => void renew()}>Try again</button></p>}
          <Doors again />
          <p class="row">
            {!must && <button onClick={() => (renewing.value = false)}>{why ? "Later" : "Keep the one I have"}</button>}
            <button onClick={leaving}>Sign out</button>
          </p>
        </>
      )}
    </dialog>
  );
}
