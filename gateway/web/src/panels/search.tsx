import { useRef, useState } from "preact/hooks";
import { api } from "../session.js";
import { placeOf } from "../map/floor.js";
import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { short, statusOfRow, taskWord } from "../words.js";
import { findTask, WHOLE_FLEET, type Watch } from "../watch.js";
import { showPlace, showRobot, showZone } from "./stage.js";

interface Found {
  key: string;
  kind: string;
  name: string;
  more: string;
  choose(): void;
}

const MOST = 12;
const ASK_MS = 250;
// Apart, since the types know comboboxes with a <datalist> alone.
const combobox = { role: "combobox" } as object;

export function focusSearch(): void {
  document.getElementById("search")?.focus();
}

/** What is found among what is followed. */
export function find(watch: Watch, text: string): Found[] {
  const t = text.trim().toLowerCase();
  if (t === "") return [];
  const out: Found[] = [];
  const robots = watch.table;
  for (let row = 0; robots && row < robots.size && out.length < MOST; row++) {
    const id = robots.ids[row]!, code = robots.codes[row]!;
    if (robots.live[row] === 0 || !(code.toLowerCase().includes(t) || id.startsWith(t))) continue;
    out.push({ key: id, kind: "robot", name: code, more: statusOfRow(robots, row).word, choose: () => chooseRobot(watch, id) });
  }
  out.sort((a, b) => (a.name < b.name ? -1 : 1));
  const floor = watch.floor.value;
  if (floor) {
    const place = placeOf(floor, text.trim());
    const named = floor.places.filter((p) => p.name?.toLowerCase().includes(t)).slice(0, 4);
    for (const p of place && !named.includes(place) ? [place, ...named] : named) {
      out.push({ key: `place ${p.vertex}`, kind: "place", name: p.name ?? p.vertex, more: `${p.x.toFixed(1)}, ${p.y.toFixed(1)} m`, choose: () => showPlace(p) });
    }
  }
  for (const z of watch.zones.value) {
    if (out.length >= MOST || t.length < 2) break;
    if (!z.name.toLowerCase().includes(t)) continue;
    out.push({ key: z.zone_id, kind: "zone", name: z.name, more: z.kind, choose: () => { selection.value = { type: "zone", id: z.zone_id }; showZone(watch, z.zone_id); } });
  }
  if (t.length >= 3) {
    for (const task of watch.tasks.list()) {
      if (out.length >= MOST) break;
      if (!task.task_id.startsWith(t)) continue;
      out.push({ key: task.task_id, kind: "task", name: short(task.task_id), more: taskWord(task.status), choose: () => (selection.value = { type: "task", id: task.task_id }) });
    }
  }
  return out.slice(0, MOST);
}

function chooseRobot(watch: Watch, id: string): void {
  selection.value = { type: "robot", id };
  void showRobot(watch, id);
}

/** What the server knows beside: a robot by its code that is not followed, a task that finished long ago. */
async function ask(watch: Watch, text: string): Promise<Found[]> {
  const t = text.trim();
  if (/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(t)) {
    const task = await findTask(watch, t.toLowerCase()).catch(() => null);
    return task ? [{ key: t, kind: "task", name: short(t), more: taskWord(task.status), choose: () => (selection.value = { type: "task", id: t }) }] : [];
  }
  const page = await api.get("/api/v1/robots", { query: { robot_code: t, warehouse_id: watch.warehouse.warehouse_id, limit: 1 } }).catch(() => null);
  return (page?.items ?? []).map((r) => ({ key: r.robot_id, kind: "robot", name: r.robot_code, more: r.connection.toLowerCase(), choose: () => chooseRobot(watch, r.robot_id) }));
}

/** One box for robots, tasks, places and zones. */
export function Search() {
  const { watch } = useWatch();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [asked, setAsked] = useState<{ text: string; found: Found[] } | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const hurry = useRef(""); // Enter was pressed for this before it was found
  const near = find(watch, text);
  const far = asked?.text === text ? asked.found.filter((f) => !near.some((n) => n.key === f.key)) : [];
  const found = [...near, ...far];
  const change = (t: string): void => {
    setText(t);
    setAt(0);
    hurry.current = "";
    clearTimeout(timer.current);
    // Of a large fleet only what is in view is at hand.
    if (t.trim() === "" || (find(watch, t).length > 0 && watch.total.value <= WHOLE_FLEET)) return;
    timer.current = setTimeout(() => {
      void ask(watch, t).then((f) => {
        setAsked({ text: t, found: f });
        if (hurry.current === t) choose(f[0]);
      });
    }, ASK_MS);
  };
  const choose = (f: Found | undefined): void => {
    hurry.current = f ? "" : text;
    if (!f) return;
    setText("");
    (document.activeElement as HTMLElement | null)?.blur();
    f.choose();
  };
  const onKey = (e: KeyboardEvent): void => {
    if (e.key === "ArrowDown") setAt(Math.min(found.length - 1, at + 1));
    else if (e.key === "ArrowUp") setAt(Math.max(0, at - 1));
    else if (e.key === "Enter") choose(found[at]);
    else if (e.key === "Escape") {
      setText("");
      (e.target as HTMLElement).blur();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };
  const open = text.trim() !== "";
  return (
    <div class="search" role="search">
      <input
        id="search" type="search" {...combobox} autocomplete="off" spellcheck={false} placeholder="Robot, task, place …  ( / )" aria-label="Search a robot, a task, a place or a zone"
        aria-expanded={open} aria-controls="found" aria-autocomplete="list" {...(open && found[at] ? { "aria-activedescendant": `found-${at}` } : {})}
        value={text} onInput={(e) => change(e.currentTarget.value)} onKeyDown={onKey} onBlur={() => setText("")}
      />
      <ul id="found" role="listbox" aria-label="Found" hidden={!open}>
        {found.map((f, i) => (
          <li key={f.key} id={`found-${i}`} role="option" aria-selected={i === at} onMouseDown={(e) => { e.preventDefault(); choose(f); }}>
            <small>{f.kind}</small> <b>{f.name}</b> <span>{f.more}</span>
          </li>
        ))}
        {open && found.length === 0 && <li role="option" aria-selected="false" class="empty">{asked?.text === text ? "Nothing of that name" : "Looking …"}</li>}
      </ul>
    </div>
  );
}
