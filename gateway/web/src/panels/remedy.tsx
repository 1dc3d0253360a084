import { useEffect, useRef, useState } from "preact/hooks";
import type { Schemas } from "starling-client";
import { remedy } from "../doing.js";
import { useWatch } from "../page.js";
import { mayAdminister, mayOperate, session } from "../session.js";

type Remedy = NonNullable<Schemas["Remedy"]>;

/** Whether this person may press what the remedy asks for: as the server says, for this token or by the roles. */
export function mayPress(r: Remedy): boolean {
  if (r.allowed !== null) return r.allowed;
  const mine = session.value?.me.roles ?? [];
  if (r.roles.length > 0) return r.roles.some((role) => mine.includes(role));
  return r.method === "DELETE" ? mayAdminister.value : mayOperate.value;
}

/** A button that does what the server says would help. It says first what is sent, and afterwards why it was refused, where it was. */
export function RemedyButton({ of: r }: { of: Remedy }) {
  const { watch } = useWatch();
  const [asked, setAsked] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState("");
  const first = useRef<HTMLButtonElement>(null);
  const yes = useRef<HTMLButtonElement>(null);
  const key = `${r.method} ${r.path} ${JSON.stringify(r.body)}`;
  useEffect(() => {
    setAsked(false);
    setRefusal("");
  }, [key]); // another remedy is another question
  useEffect(() => {
    if (asked) yes.current?.focus();
  }, [asked]);
  if (!mayPress(r)) return <span class="hint">{r.label} (needs {r.roles.length > 0 ? `the role ${r.roles.join(" or ")}` : "another role"})</span>;
  const press = async (): Promise<void> => {
    setBusy(true);
    try {
      const why = await remedy(r);
      setRefusal(why);
      if (why === "") watch.refresh();
    } finally {
      setBusy(false);
      setAsked(false);
    }
  };
  const no = (): void => {
    setAsked(false);
    requestAnimationFrame(() => first.current?.focus());
  };
  const final = r.method === "DELETE" || r.path.endsWith("/cancel");
  return (
    <span class="remedy">
      {!asked && <button ref={first} onClick={() => setAsked(true)}>{r.label}</button>}
      {asked && (
        <span class="asking" role="group" aria-label={`${r.label}?`} onKeyDown={(e) => { if (e.key === "Escape") { e.stopPropagation(); no(); } }}>
          <b>{r.label}?</b> {final && <span class="final">This cannot be taken back.</span>}
          <code>{r.method} {r.path}{r.body && Object.keys(r.body).length > 0 ? ` ${JSON.stringify(r.body)}` : ""}</code>
          <span class="row"><button ref={yes} class={final ? "danger" : "primary"} disabled={busy} onClick={() => void press()}>{busy ? "Doing it …" : "Do it"}</button><button disabled={busy} onClick={no}>Not now</button></span>
        </span>
      )}
      {refusal !== "" && <span class="fault" role="alert">Refused: {refusal}.</span>}
    </span>
  );
}
