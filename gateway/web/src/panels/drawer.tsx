import { mayAdminister } from "../session.js";
import { tab, type Tab } from "../route.js";
import { useWatch } from "../page.js";
import { count } from "../words.js";
import { AlertTriage } from "./alerts.js";
import { AuditLog } from "./audit.js";
import { Charts } from "./charts.js";
import { Hotspots } from "./hotspots.js";
import { DeadLetters } from "./letters.js";
import { RobotTablePane } from "./robots.js";
import { TaskTable } from "./tasktable.js";
import { ZoneTable } from "./zones.js";

const tabs: [Tab, string][] = [["tasks", "Tasks"], ["robots", "Robots"], ["zones", "Zones"], ["charts", "Charts"], ["hotspots", "Hotspots"], ["alerts", "Alerts"], ["audit", "Audit"], ["letters", "Unsent"]];
const administrators: readonly Tab[] = ["audit", "letters"];

/** The tables under the map. */
export function Drawer() {
  const { watch } = useWatch();
  void watch.tasks.changes.value;
  void watch.alerts.changes.value;
  const numbers: Partial<Record<Tab, number>> = { tasks: watch.tasks.openCount, robots: watch.total.value, zones: watch.zones.value.length, ...(watch.alerts.openCount > 0 ? { alerts: watch.alerts.openCount } : {}) };
  const open = tab.value;
  return (
    <section class={`drawer ${open === null ? "closed" : ""}`} aria-label="Tables">
      <div class="tabs">
        <div role="tablist" aria-label="Tables">
          {tabs.filter(([id]) => !administrators.includes(id) || mayAdminister.value).map(([id, word]) => (
            <button key={id} id={`tab-${id}`} role="tab" aria-selected={open === id} aria-controls="tables" onClick={() => (tab.value = open === id ? null : id)}>
              {word} {numbers[id] !== undefined && <small>{count(numbers[id])}</small>}
            </button>
          ))}
        </div>
        <button class="quiet" aria-label={open === null ? "Open the tables" : "Close the tables"} onClick={() => (tab.value = open === null ? "tasks" : null)}>{open === null ? "▴" : "▾"}</button>
      </div>
      <div id="tables" class="pane" role="tabpanel" aria-labelledby={`tab-${open ?? "tasks"}`} hidden={open === null}>
        {open === "tasks" && <TaskTable />}
        {open === "robots" && <RobotTablePane />}
        {open === "zones" && <ZoneTable />}
        {open === "charts" && <Charts />}
        {open === "hotspots" && <Hotspots />}
        {open === "alerts" && <AlertTriage />}
        {open === "audit" && (mayAdminister.value ? <AuditLog /> : <p class="empty">Your role may not read the audit log.</p>)}
        {open === "letters" && (mayAdminister.value ? <DeadLetters /> : <p class="empty">Your role may not read dead letters.</p>)}
      </div>
    </section>
  );
}
