import { useEffect, useRef, useState } from "preact/hooks";
import { useWatch } from "../page.js";
import { expired, refuse, renewal, renewing, session } from "../session.js";
import { renew } from "../signin.js";
import { span } from "../time.js";

const QUIET_MS = 1_500;
const BACK_SHOWN_MS = 10_000;

const reasons: Record<string, string> = {
  token_expired: "the sign-in has expired",
  unauthenticated: "the sign-in has expired",
  slow_consumer: "this browser did not keep up",
  restart: "the server restarts",
  unreachable: "the server cannot be reached",
  connection_lost: "the connection was lost",
  silent: "nothing was heard",
  busy: "the server is busy",
  refused: "the server refuses",
  forbidden: "this role may not look",
  token_unavailable: "there is no token",
};

/** Says when what is seen no longer moves, since when and why, and when it does again. */
export function Banner() {
  const { watch, clock } = useWatch();
  const { phase, since, reason, retryAt, lastMessageAt, clockOffsetMs } = watch.link.value;
  const now = Date.now();
  void watch.now.value; // the seconds count
  const halted = watch.halted.value;
  const away = phase !== "open";
  const lost = useRef(0);
  const [back, setBack] = useState<{ forMs: number } | null>(null);
  useEffect(() => {
    if (away) {
      if (lost.current === 0 && lastMessageAt > 0) lost.current = lastMessageAt;
      return;
    }
    if (lost.current === 0 || halted !== "") return; // what is seen is not of now before all flows again
    setBack({ forMs: Date.now() - lost.current });
    lost.current = 0;
    const timer = setTimeout(() => setBack(null), BACK_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [away, halted]);
  useEffect(() => {
    // Within its leeway for clocks the server still answers calls, but ends the live channel each time that it is opened.
    const until = session.peek()?.expiresAt ?? NaN;
    if (reason === "token_expired" && until <= Date.now() + clockOffsetMs) refuse();
  }, [phase, reason]);
  const first = lastMessageAt === 0;
  if (away && (now - since > QUIET_MS || !first)) {
    // What is announced stays the same; the seconds are for the eye alone.
    return (
      <div class="banner bad" data-testid="banner">
        <span role="alert"><b>{first ? "Not connected yet" : "Connection lost"}</b>{reason !== undefined && `: ${reasons[reason] ?? reason.replaceAll("_", " ")}`}. </span>
        <span aria-hidden="true">
          {!first && `What you see is from ${clock.time(lastMessageAt + clockOffsetMs)}, ${span(now - lastMessageAt)} ago. `}
          {retryAt !== undefined && retryAt > now ? `Next attempt in ${span(retryAt - now)}.` : phase === "connecting" ? "Trying again …" : ""}
        </span>
      </div>
    );
  }
  if (!away && back) {
    return (
      <div class="banner good" role="status" data-testid="banner">
        Connected again after {span(back.forMs)}. What you see is up to date.
      </div>
    );
  }
  if (renewal.value && !expired.value) return <Unrenewed />;
  return <div class="banner none" role="status" />;
}

/** The sign-in still holds, and is not renewed. */
function Unrenewed() {
  const { watch, clock } = useWatch();
  const { kind, text } = renewal.value!;
  const until = session.value?.grant?.until ?? NaN;
  return (
    <div class="banner bad" data-testid="banner">
      <span role="alert"><b>Your sign-in is not renewed</b>: {text}. </span>
      {Number.isFinite(until) && `The page goes on until ${clock.time(until + watch.link.value.clockOffsetMs)}. `}
      {kind === "away" ? <button class="small" onClick={() => void renew()}>Try again</button> : <button class="small" onClick={() => (renewing.value = true)}>Sign in again</button>}
    </div>
  );
}
