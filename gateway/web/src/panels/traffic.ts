import { effect, signal } from "@preact/signals";
import { layers, look, selection, tab } from "../route.js";
import { flowAt, flowOf, type FlowLane } from "../map/flow.js";
import { type JamLane, jamsOf } from "../map/heat.js";
import type { MapView } from "../map/view.js";
import { heatText } from "../heat.js";
import { WaitGraph } from "../map/waits.js";
import type { Watch } from "../watch.js";

/** The lanes that are drawn now. */
const drawn = signal<readonly FlowLane[]>([]);
/** The lanes that are drawn as congested now. */
const jams = signal<readonly JamLane[]>([]);
/** Waits that are drawn, and of those how many belong to a ring; for the legend. */
export const waitsShown = signal({ all: 0, ringed: 0, total: 0 });

/** How far from a lane the pointer may be to mean it, CSS pixels. */
const REACH_PX = 8;

/** Keeps dear lanes, congestion and waits on the map as the signals say; gives what ends that. `robotOf`: the robot that is looked at. */
export function keepTraffic(watch: Watch, map: MapView, robotOf: () => string | null, around: () => [number, number, number, number] | null): (() => void)[] {
  return [
    effect(() => {
      drawn.value = layers.value.flow ? flowOf(watch.zoneStatus.value.values()) : [];
      map.setFlow(drawn.value);
    }),
    // Who looks at neither map layer, lists nor zone pays nothing for it.
    effect(() => watch.wantHeat(layers.value.jams || tab.value === "hotspots" || tab.value === "zones" || tab.value === "alerts" || selection.value?.type === "zone")),
    effect(() => {
      jams.value = layers.value.jams ? jamsOf(watch.heat.value.values()) : [];
      map.setJams(jams.value);
    }),
    effect(() => {
      void look.value; // the camera moved
      const robot = robotOf();
      const waits = robot !== null && watch.detail.value?.robot_id === robot && watch.detail.value.waiting !== null;
      const all = layers.value.waits;
      watch.wantWaits(all || waits ? { rect: all ? around() : null, robot: waits ? robot : null } : null);
    }),
    effect(() => {
      const w = watch.waits.value;
      void watch.robotTick.value; // another snapshot, other rows
      if (!w) {
        waitsShown.value = { all: 0, ringed: 0, total: 0 };
        return map.setWaits([]);
      }
      const graph = new WaitGraph(w.waits);
      const edges = graph.edges(robotOf(), layers.value.waits, (id) => watch.table?.row(id) ?? -1);
      waitsShown.value = { all: edges.length, ringed: graph.ringed.size, total: w.total };
      map.setWaits(edges);
    }),
    () => watch.wantWaits(null),
    () => watch.wantHeat(false),
  ];
}

/** What the lane under the pointer costs, or how congested it is, in words; "" = none there. */
export function laneText(x: number, y: number, scale: number): string {
  const jam = flowAt(jams.peek(), x, y, REACH_PX / scale);
  if (jam) return `lane: ${heatText({ congestion_index: jam.index, level: jam.level, queue_length: jam.queue })}`;
  const l = flowAt(drawn.peek(), x, y, REACH_PX / scale);
  return l ? `lane: ${l.ratio.toFixed(1)} × as long as without traffic` : "";
}
