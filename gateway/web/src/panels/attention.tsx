import { signal } from "@preact/signals";
import type { Schemas } from "starling-client";
import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { since } from "../time.js";
import { brief, causeWords, count, short } from "../words.js";
import { RemedyButton } from "./remedy.js";
import { showRobot } from "./stage.js";
import type { Watch } from "../watch.js";

type Item = Schemas["Attention"];
const kinds = { stuck: "Stuck", unavailable: "Unavailable", late: "Late" } as const;
const signs = { stuck: "■", unavailable: "▲", late: "◷" } as const;
const kind = signal<Item["kind"] | "">("");
let current: Watch | null = null;

function keyOf(i: Item): string {
  return `${i.kind}/${i.object.type}/${i.object.id}`;
}

function choose(watch: Watch, i: Item): void {
  if (i.object.type !== "robot" && i.object.type !== "task") return;
  selection.value = { type: i.object.type, id: i.object.id };
  if (i.robot_id !== null) void showRobot(watch, i.robot_id);
}

/** Goes to the next thing that needs somebody; false where there is none. */
export function nextAttention(): boolean {
  const items = current?.overview.value?.attention.items ?? [];
  if (items.length === 0 || current === null) return false;
  const at = items.findIndex((i) => i.object.id === selection.value?.id);
  choose(current, items[(at + 1) % items.length]!);
  return true;
}

/** What needs somebody: since when, why, and what to press. */
export function Attention() {
  const { watch } = useWatch();
  current = watch;
  const all = watch.overview.value?.attention;
  const now = watch.now.value;
  const shown = kind.value === "" ? (all?.total ?? 0) : (all?.kinds[kind.value] ?? 0);
  const items = (all?.items ?? []).filter((i) => kind.value === "" || i.kind === kind.value);
  return (
    <section class="attention" aria-labelledby="attention-title">
      <h2 id="attention-title">Needs you <b class={`total ${(all?.total ?? 0) > 0 ? "some" : ""}`}>{all ? count(all.total) : ""}</b></h2>
      <div class="chips" role="group" aria-label="Kinds">
        {(Object.keys(kinds) as Item["kind"][]).map((k) => (
          <button key={k} class="chip" aria-pressed={kind.value === k} onClick={() => (kind.value = kind.value === k ? "" : k)}>
            <span aria-hidden="true">{signs[k]}</span> {kinds[k]} {all ? brief(all.kinds[k] ?? 0) : ""}
          </button>
        ))}
      </div>
      {!all && <p class="empty" role="status">Looking …</p>}
      {all && items.length === 0 && (watch.link.value.phase === "open" ? <p class="empty calm">✓ Nothing is stuck, late or unavailable.</p> : <p class="empty">Nothing was, when the connection was lost.</p>)}
      <ul class="scroll" tabIndex={0} aria-label="What needs somebody">
        {items.map((i) => (
          <li key={keyOf(i)} class={`item ${i.kind} ${selection.value?.id === i.object.id ? "chosen" : ""}`}>
            <button class="what" onClick={() => choose(watch, i)}>
              <span class="sign" aria-hidden="true">{signs[i.kind]}</span>
              <b>{i.code ?? `${i.object.type} ${short(i.object.id)}`}</b>
              <span class="since">{since(i.since, now)}</span>
              <span class="cause">{kinds[i.kind]}: {causeWords(i.cause)}{i.because !== null && ` — ${causeWords(i.because)}`}{i.task_id !== null && i.object.type === "robot" ? " · has a task" : ""}</span>
            </button>
            {i.remedy && <RemedyButton of={i.remedy} />}
          </li>
        ))}
      </ul>
      {shown > items.length && <p class="hint">The worst {items.length} of {count(shown)}.</p>}
    </section>
  );
}
