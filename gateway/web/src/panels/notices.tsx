import { dismiss, notices } from "../doing.js";

/** What was just done or could not be done, in a corner. */
export function Notices() {
  return (
    <div class="notices" role="log" aria-live="polite" aria-label="What was done">
      {notices.value.map((n) => (
        <div key={n.id} class={`notice ${n.kind}`}>
          <span>
            {n.kind === "failed" ? "✕ " : n.kind === "done" ? "✓ " : ""}
            {n.text}
            {n.requestId !== "" && <small> (request {n.requestId})</small>}
          </span>
          <button class="quiet" aria-label="Take this away" onClick={() => dismiss(n.id)}>✕</button>
        </div>
      ))}
    </div>
  );
}
