import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError, type Task } from "starling-client";
import { api, mayOperate } from "../session.js";
import { faultText, notify } from "../doing.js";
import { begin } from "../draft.js";
import { useWatch } from "../page.js";
import { selection, taskFilter } from "../route.js";
import { finished } from "../tasks.js";
import { since } from "../time.js";
import { errands, isLate, short, TASK_STATUSES, taskWord, typeWord } from "../words.js";
import { showTask } from "./stage.js";
import { SureButton } from "./sure.js";
import { Table, type Column } from "./table.js";
import { cancel, TaskStatus } from "./task.js";

type Watch = ReturnType<typeof useWatch>["watch"];

function columns(watch: Watch, now: number): Column<Task>[] {
  const code = (id: string | null): string => {
    if (!id) return "";
    const row = watch.table?.row(id) ?? -1;
    return row < 0 ? short(id) : watch.table!.codes[row]!;
  };
  return [
    { name: "Status", width: "minmax(140px, 1.2fr)", cell: (t) => <TaskStatus task={t} now={now} /> },
    { name: "Task", width: "90px", cell: (t) => <code>{short(t.task_id)}</code> },
    { name: "Type", width: "80px", from: 780, cell: (t) => typeWord(t.task_type) },
    { name: "Where", width: "minmax(120px, 1.5fr)", cell: (t) => errands(t).map((e) => e.place).join(" → ") },
    { name: "Robot", width: "110px", cell: (t) => code(t.robot_id) },
    { name: "Priority", width: "64px", from: 860, cell: (t) => t.priority },
    { name: "Age", width: "90px", cell: (t) => since(t.created_at, t.finished_at ? Date.parse(t.finished_at) : now) },
    { name: "Reason", width: "minmax(80px, 1fr)", from: 980, cell: (t) => t.reason ?? "" },
    {
      name: "Do", width: "76px",
      cell: (t) => (!finished(t) && t.status !== "CANCELLING" && mayOperate.value ? <SureButton kind="small" word="Cancel" label={`Cancel task ${short(t.task_id)}`} act={() => void cancel(watch, t)} /> : null),
    },
  ];
}

function matches(watch: Watch, t: Task, now: number): boolean {
  const { status, text, late } = taskFilter.value;
  if (status === "open" ? finished(t) : status !== "" && t.status !== status) return false;
  if (late && !isLate(t, now)) return false;
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return true;
  const row = t.robot_id ? (watch.table?.row(t.robot_id) ?? -1) : -1;
  const robot = row < 0 ? "" : watch.table!.codes[row]!.toLowerCase();
  return t.task_id.startsWith(wanted) || robot.includes(wanted) || errands(t).some((e) => e.place.toLowerCase() === wanted);
}

/** The tasks: open ones, those that finished while the page was open, and on demand those before. */
export function TaskTable() {
  const { watch } = useWatch();
  const [cursor, setCursor] = useState<string | null | undefined>(undefined);
  const [older, setOlder] = useState<Task[]>([]);
  const changes = watch.tasks.changes.value;
  const f = taskFilter.value;
  const now = Math.floor(watch.now.value / 1000) * 1000;
  useEffect(() => {
    setCursor(undefined);
    setOlder([]);
  }, [f.status]);
  const items = useMemo(() => {
    const list = watch.tasks.list();
    const known = new Set(list.map((t) => t.task_id));
    return [...list, ...older.filter((t) => !known.has(t.task_id))].filter((t) => matches(watch, t, now));
  }, [changes, f, older, f.late ? now : 0]);
  const loadOlder = async (): Promise<void> => {
    const status = TASK_STATUSES.find((s) => s === f.status);
    try {
      const page = await api.get("/api/v1/tasks", { query: { warehouse_id: watch.warehouse.warehouse_id, limit: 200, ...(status ? { status } : {}), ...(cursor ? { cursor } : {}) } });
      // Open ones are followed; a copy of them would grow old unseen.
      setOlder([...(cursor === undefined ? [] : older), ...page.items.filter(finished)]);
      setCursor(page.next_cursor);
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      notify("failed", `Older tasks: ${faultText(e)}`, e.requestId);
    }
  };
  const filter = (part: Partial<typeof f>): void => {
    taskFilter.value = { ...f, ...part };
  };
  return (
    <>
      <div class="filters">
        <label><span class="hidden">Status</span>
          <select value={f.status} onChange={(e) => filter({ status: e.currentTarget.value })}>
            <option value="">All</option><option value="open">Open</option>
            {TASK_STATUSES.map((s) => <option key={s} value={s}>{taskWord(s)}</option>)}
          </select>
        </label>
        <input type="search" aria-label="Task id, robot or place" placeholder="task id, robot, place" value={f.text} onInput={(e) => filter({ text: e.currentTarget.value })} />
        <button class="chip" aria-pressed={f.late} onClick={() => filter({ late: !f.late })}>◷ Late</button>
        <span class="hint">{items.length} shown</span>
        <span class="spring" />
        {cursor !== null && <button onClick={() => void loadOlder()}>{cursor === undefined ? "Load earlier ones" : "More"}</button>}
        {mayOperate.value && <button class="primary" onClick={() => begin()}>New task</button>}
      </div>
      <Table label="Tasks" columns={columns(watch, now)} items={items} keyOf={(t) => t.task_id} chosen={selection.value?.id ?? null} choose={(t) => { selection.value = { type: "task", id: t.task_id }; showTask(watch, t); }} empty={f.status !== "" || f.text !== "" || f.late ? "No task matches." : !watch.tasks.known.value ? "Reading …" : mayOperate.value ? "No open tasks. Press n to create one." : "No open tasks."} />
    </>
  );
}
