import { effect, signal } from "@preact/signals";
import { layers, look } from "../route.js";
import { flowAt, flowOf, type FlowLane } from "../map/flow.js";
import type { MapView } from "../map/view.js";
import { WaitGraph } from "../map/waits.js";
import type { Watch } from "../watch.js";

/** The lanes that are drawn now. */
const drawn = signal<readonly FlowLane[]>([]);
/** Waits that are drawn, and of those how many belong to a ring; for the legend. */
export const waitsShown = signal({ all: 0, ringed: 0, total: 0 });

/** How far from a lane the pointer may be to mean it, CSS pixels. */
const REACH_PX = 8;

/** Keeps dear lanes and waits on the map as the signals say; gives what ends that. `robotOf`: the robot that is looked at. */
export function keepTraffic(watch: Watch, map: MapView, robotOf: () => string | null, around: () => [number, number, number, number] | null): (() => void)[] {
  return [
    effect(() => {
      drawn.value = layers.value.flow ? flowOf(watch.zoneStatus.value.values()) : [];
      map.setFlow(drawn.value);
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
  ];
}

/** What the lane under the pointer costs, in words; "" = none there. */
export function laneText(x: number, y: number, scale: number): string {
  const l = flowAt(drawn.peek(), x, y, REACH_PX / scale);
  return l ? `lane: ${l.ratio.toFixed(1)} × as long as without traffic` : "";
}
