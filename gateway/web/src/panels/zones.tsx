import { useMemo } from "preact/hooks";
import { useWatch } from "../page.js";
import type { ZoneStatus } from "starling-client";
import { selection } from "../route.js";
import type { Zone } from "../watch.js";
import { Level } from "./level.js";
import { showZone } from "./stage.js";
import { Table, type Column } from "./table.js";

/** 3 + 1 of 8; what is in force, and with whom a zone is planned. */
function windowText(s: ZoneStatus | undefined): string {
  const w = s?.window;
  if (!w || w.limit <= 0) return "";
  return `${w.admitted} + ${w.inbound} of ${w.limit}${w.enforced ? ", enforced" : ""}${s.domain ? " · merged" : ""}`;
}

const SORT_MS = 10_000;

/** The zones, the fullest first. */
export function ZoneTable() {
  const { watch } = useWatch();
  const status = watch.zoneStatus.value;
  const all = watch.zones.value;
  const full = (z: Zone): number => (status.get(z.zone_id)?.occupancy ?? z.occupancy ?? 0) / Math.max(1, z.capacity);
  const items = useMemo(() => [...all].sort((a, b) => full(b) - full(a) || (a.name < b.name ? -1 : 1)), [all, status.size === 0, Math.floor(watch.now.value / SORT_MS)]); // not under the hand that reads
  const columns: Column<Zone>[] = [
    { name: "Zone", width: "minmax(120px, 1fr)", cell: (z) => z.name },
    { name: "Kind", width: "100px", cell: (z) => z.kind.replace("_", " ") },
    { name: "Robots", width: "120px", cell: (z) => (z.kind === "traffic" ? `${status.get(z.zone_id)?.occupancy ?? z.occupancy ?? "—"} of ${z.capacity}` : "") },
    { name: "Occupancy", width: "minmax(100px, 1fr)", cell: (z) => (z.kind === "traffic" ? <meter min={0} max={1} high={0.75} optimum={0} value={Math.min(1, full(z))} aria-label={`Occupancy of ${z.name}`} /> : null) },
    { name: "Window", width: "190px", from: 600, cell: (z) => windowText(status.get(z.zone_id)) },
    { name: "Congestion", width: "100px", from: 700, cell: (z) => { const h = watch.heat.value.get(z.zone_id); return h && <><Level of={h.level} /> {h.congestion_index.toFixed(2)}</>; } },
    { name: "Waiting", width: "90px", cell: (z) => status.get(z.zone_id)?.queue_length ?? z.queue_length ?? "" },
  ];
  return <Table label="Zones" columns={columns} items={items} keyOf={(z) => z.zone_id} chosen={selection.value?.id ?? null} choose={(z) => { selection.value = { type: "zone", id: z.zone_id }; showZone(watch, z.zone_id); }} empty={watch.zonesKnown.value ? "This map has no zones." : watch.floorState.value === "none" ? "There is no active map." : "Reading …"} />;
}
