import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { StatusWord } from "./sign.js";
import { statusOf } from "../words.js";

export const helpShown = signal(false);

const KEPT = "starling.letters";
/** Whether single letters are shortcuts. Who speaks to the machine, or types with a stick, turns that off. */
export const letters = signal(localStorage.getItem(KEPT) !== "off");

function chooseLetters(on: boolean): void {
  localStorage.setItem(KEPT, on ? "on" : "off");
  letters.value = on;
}

const keys: [string, string][] = [
  ["/", "search"], ["a", "next thing that needs somebody"], ["n", "new task"], ["f", "whole floor"], ["h", "congestion on the map"], ["1 2 3 4 5 6", "tasks, robots, zones, charts, hotspots, alerts"],
  ["j k", "next and previous alert"], ["a r m s c z", "in alerts: acknowledge, resolve, mine, silence, comment, roll back"],
  ["arrows, + −", "move and zoom the map, when it has the focus"], ["↑ ↓ Enter", "walk through a table and select"], ["Esc", "close what is open"], ["?", "this"],
];

/** The keys and the signs. */
export function Help() {
  const box = useRef<HTMLDialogElement>(null);
  const open = helpShown.value;
  useEffect(() => {
    if (open && !box.current?.open) box.current?.showModal();
    if (!open) box.current?.close();
  }, [open]);
  return (
    <dialog ref={box} class="card help" aria-labelledby="help-title" onClose={() => (helpShown.value = false)}>
      <h2 id="help-title">Keys and signs</h2>
      <div class="columns">
        <dl class="keys">
          {keys.map(([key, what]) => (
            <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>
          ))}
        </dl>
        <ul class="signs">
          {["IDLE", "MOVING", "WAITING", "CHARGING", "PAUSED", "ERROR", "MANUAL"].map((s) => <li key={s}><StatusWord status={statusOf("ONLINE", s)} /></li>)}
          <li><StatusWord status={statusOf("OFFLINE", null)} /></li>
        </ul>
      </div>
      <p><label><input type="checkbox" checked={letters.value} onChange={(e) => chooseLetters(e.currentTarget.checked)} /> Single letters are shortcuts</label></p>
      <p class="row"><button class="primary" onClick={() => (helpShown.value = false)}>Close</button></p>
    </dialog>
  );
}
