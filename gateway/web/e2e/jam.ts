// What the server says of zones and of congestion, with what a jam would add to it: traffic that no test can wait for.
import type { Page } from "@playwright/test";
import type { Heat, ZoneStatus } from "starling-client";

interface Message {
  op: string;
  items?: object[];
  events?: { type: string; data: object }[];
}

/** Changes what the page hears of zones; `told` is what the server said. */
export async function changeZones(page: Page, change: (z: ZoneStatus) => ZoneStatus): Promise<{ told: ZoneStatus[] }> {
  const told: ZoneStatus[] = [];
  const changed = (z: ZoneStatus): ZoneStatus => {
    told.push(structuredClone(z));
    return change(z);
  };
  await page.routeWebSocket(/\/api\/v1\/ws/, (ws) => {
    const server = ws.connectToServer();
    server.onMessage((m) => {
      if (typeof m !== "string") return ws.send(m);
      const f = JSON.parse(m) as Message;
      if (f.items) f.items = f.items.map((i) => ("queue_length" in i && !("congestion_index" in i) ? changed(i as ZoneStatus) : i));
      f.events?.forEach((e) => e.type === "zone_status" && (e.data = changed(e.data as ZoneStatus)));
      ws.send(JSON.stringify(f));
    });
  });
  return { told };
}

/** Changes what the page hears of congestion, and says more beside it; `told` is what the server said. */
export async function changeHeat(page: Page, change: (h: Heat) => Heat, beside: (h: Heat) => Heat[] = () => []): Promise<{ told: Heat[] }> {
  const told: Heat[] = [];
  const changed = (h: Heat): Heat[] => {
    told.push(structuredClone(h));
    return [change(h), ...beside(h)];
  };
  await page.routeWebSocket(/\/api\/v1\/ws/, (ws) => {
    const server = ws.connectToServer();
    server.onMessage((m) => {
      if (typeof m !== "string") return ws.send(m);
      const f = JSON.parse(m) as Message;
      if (f.items) f.items = f.items.flatMap((i) => ("congestion_index" in i ? changed(i as Heat) : [i]));
      if (f.events) f.events = f.events.flatMap((e) => (e.type === "congestion_heatmap_update" ? changed(e.data as Heat).map((data) => ({ type: e.type, data })) : [e]));
      ws.send(JSON.stringify(f));
    });
  });
  return { told };
}
