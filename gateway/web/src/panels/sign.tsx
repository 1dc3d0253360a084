import type { Status } from "../words.js";

// The same shapes as on the map: a status is told by its shape and its word, the colour only helps.
const shapes: Record<Status["sign"], preact.JSX.Element> = {
  idle: <circle cx="8" cy="8" r="5" />,
  moving: <path fill-rule="evenodd" d="M8 1l4.2 5.2a5.4 5.4 0 1 1-8.4 0zM4.7 9.8l1.3 1.3 2-2.2 2 2.2 1.3-1.3L8 6.4z" />,
  waiting: <rect x="3.5" y="3.5" width="9" height="9" rx="1" />,
  charging: <path d="M8 1.5L14.5 8 8 14.5 1.5 8z" />,
  paused: <path d="M4 3h3v10H4zM9 3h3v10H9z" />,
  error: <path d="M8 1.5l7 13H1z" />,
  manual: <g fill="none" stroke="currentColor" stroke-width="1.8"><circle cx="8" cy="8" r="5.6" /><path d="M8 2.4v11.2M2.4 8h11.2" /></g>,
  offline: <circle cx="8" cy="8" r="5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="4 2.3" />,
};

/** The shape of a status. */
export function Sign({ of }: { of: Status["sign"] }) {
  return (
    <svg class={`sign robot-${of}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" fill="currentColor">
      {shapes[of]}
    </svg>
  );
}

/** A status: shape and word. */
export function StatusWord({ status }: { status: Status }) {
  return (
    <span class="status">
      <Sign of={status.sign} /> {status.word}
    </span>
  );
}
