import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "starling-client";
import { developmentSignIn, expired, hasDevelopmentIssuer, renewing, session, signIn, signOut } from "../session.js";
import { faultText } from "../doing.js";

/** Signing in: with a token, and in development with one press. */
function Doors({ trouble = "", renew = false }: { trouble?: string; renew?: boolean }) {
  const [token, setToken] = useState("");
  const [fault, setFault] = useState(trouble);
  const [busy, setBusy] = useState(false);
  const [development, setDevelopment] = useState(false);
  useEffect(() => void hasDevelopmentIssuer().then(setDevelopment), []);
  const enter = async (act: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setFault("");
    try {
      await act();
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      setFault(e.status === 401 ? "The server does not take this token: it is wrong or has expired." : faultText(e));
    } finally {
      setBusy(false);
    }
  };
  const tenant = renew ? (session.value?.tenant ?? "") : "";
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        void enter(() => signIn(token, tenant));
      }}
    >
      <label for="token">Access token</label>
      <textarea id="token" rows={4} required spellcheck={false} autocomplete="off" value={token} aria-describedby="token-fault" onInput={(e) => setToken(e.currentTarget.value)} />
      <p id="token-fault" class="fault" role="alert">{fault}</p>
      <p class="row">
        <button class="primary" type="submit" disabled={busy}>{renew ? "Go on" : "Sign in"}</button>
        {renew && <button type="button" onClick={signOut}>Sign out</button>}
      </p>
      {development && (
        <fieldset>
          <legend>This is a development server: enter the demo as</legend>
          <p class="row">
            {["viewer", "operator", "admin"].map((role) => (
              <button key={role} type="button" disabled={busy} onClick={() => void enter(() => developmentSignIn(role))}>{role}</button>
            ))}
          </p>
        </fieldset>
      )}
    </form>
  );
}

/** The first view of somebody who is not signed in. */
export function Login({ trouble }: { trouble: string }) {
  return (
    <main class="login">
      <div class="card">
        <h1><img src="/starling.svg" alt="" width="28" height="28" /> Starling</h1>
        <p>Sign in to see the warehouse.</p>
        <Doors trouble={trouble === "" ? "" : `Signing in failed: ${trouble}.`} />
      </div>
    </main>
  );
}

/** Asks for a new token without taking the page away. */
export function Expired({ lastSeen }: { lastSeen: string }) {
  const box = useRef<HTMLDialogElement>(null);
  const open = session.value !== null && (expired.value || renewing.value);
  const must = expired.value;
  useEffect(() => {
    if (open && !box.current?.open) box.current?.showModal();
    if (!open) box.current?.close();
  }, [open]);
  const closed = (): void => {
    renewing.value = false;
    // A browser lets Esc through when it is pressed often enough; without a token there is nothing to go back to.
    if (expired.peek() && session.peek()) box.current?.showModal();
  };
  return (
    <dialog ref={box} class="card" aria-labelledby="expired-title" onCancel={(e) => must && e.preventDefault()} onClose={closed}>
      {open && (
        <>
          <h2 id="expired-title">{must ? "Your sign-in has expired" : "Give another token"}</h2>
          <p>{must ? `What you see is from ${lastSeen} and no longer moves. Sign in again to go on where you are.` : "The page goes on where it is, with the rights of the new token."}</p>
          <Doors renew />
          {!must && <p class="row"><button onClick={() => (renewing.value = false)}>Keep the one I have</button></p>}
        </>
      )}
    </dialog>
  );
}
