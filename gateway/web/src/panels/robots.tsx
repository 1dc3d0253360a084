import { useMemo } from "preact/hooks";
import { CONNECTIONS } from "starling-client";
import { useWatch } from "../page.js";
import { robotFilter, selection } from "../route.js";
import { span } from "../time.js";
import { percent, SHOWN, shows, statusOfRow, waitingWords } from "../words.js";
import { WHOLE_FLEET } from "../watch.js";
import { StatusWord } from "./sign.js";
import { showRobot } from "./stage.js";
import { Table, type Column } from "./table.js";

/** The robots that are followed; the filter also dims the map. */
export function RobotTablePane() {
  const { watch } = useWatch();
  const t = watch.table;
  const f = robotFilter.value;
  const generation = t?.generation ?? 0;
  const second = Math.floor(watch.now.value / 1000);
  const rows = useMemo(() => {
    const wanted = f.text.toLowerCase();
    const out: number[] = [];
    for (let row = 0; t && row < t.size; row++) if (t.live[row] === 1 && shows(f.show, t, row) && t.codes[row]!.toLowerCase().includes(wanted)) out.push(row);
    return t ? out.sort((a, b) => (t.codes[a]! < t.codes[b]! ? -1 : 1)) : out;
  }, [t, generation, f, second]);
  const now = watch.now.value;
  const columns: Column<number>[] = t
    ? [
        { name: "Robot", width: "minmax(110px, 1fr)", cell: (row) => t.codes[row] },
        { name: "Status", width: "minmax(120px, 1fr)", cell: (row) => <StatusWord status={statusOfRow(t, row)} /> },
        { name: "Waits because", width: "minmax(140px, 2fr)", cell: (row) => waitingWords(t, row) },
        { name: "Battery", width: "80px", cell: (row) => percent(t.battery[row]!) },
        { name: "Speed", width: "90px", from: 700, cell: (row) => `${t.speed[row]!.toFixed(2)} m/s` },
        { name: "Heard", width: "110px", cell: (row) => (Number.isNaN(t.heardAt[row]!) ? "never" : `${span(now - t.heardAt[row]!)} ago`) },
        { name: "Connection", width: "100px", from: 860, cell: (row) => (CONNECTIONS[t.connection[row]!] ?? "").toLowerCase().replace("_", " ") },
      ]
    : [];
  return (
    <>
      <div class="filters">
        <input type="search" aria-label="Robot code" placeholder="robot code" value={f.text} onInput={(e) => (robotFilter.value = { ...f, text: e.currentTarget.value })} />
        <div class="chips" role="group" aria-label="Which robots">
          {SHOWN.map((s) => <button key={s} class="chip" aria-pressed={f.show === s} onClick={() => (robotFilter.value = { ...f, show: f.show === s ? "" : s })}>{s}</button>)}
        </div>
        <span class="hint">{rows.length} shown{watch.total.value > WHOLE_FLEET ? ", of those in view" : ""}</span>
      </div>
      <Table label="Robots" columns={columns} items={rows} keyOf={(row) => t!.ids[row]!} chosen={selection.value?.id ?? null} choose={(row) => { selection.value = { type: "robot", id: t!.ids[row]! }; void showRobot(watch, t!.ids[row]!); }} empty={t ? "No robot matches." : watch.total.value > WHOLE_FLEET ? "Zoom in to see single robots." : watch.overview.value ? "No robots yet." : "Reading …"} />
    </>
  );
}
