/** Client of Starling: typed REST calls ({@link Api}) and the live channel with recovery ({@link Live}). */
export { Api, newKey } from "./api.js";
export type { Answer, AnswerOf, ApiOptions, CallOptions, CreatingPaths, ItemOf, ListPaths, Me, NewTask, Options, PathsWith, Robot, Schemas, Task, Why } from "./api.js";
export { ApiError } from "./error.js";
export type { FieldFault } from "./error.js";
export { Live } from "./live.js";
export type { LiveOptions, LiveState, Refusable, Subscription } from "./live.js";
export type { Counters } from "./feed.js";
export type { Timing, WebSocketConstructor, WebSocketLike } from "./link.js";
export { CONNECTIONS, FLAG, RobotTable, STATES, WAITING, WAITING_OTHER } from "./robots.js";
export { FrameError, FrameReader, readFrame } from "./frame.js";
export type { Frame } from "./frame.js";
export type { Alert, AlertEvent, Channel, Filter, Heat, LaneCost, OrderVertex, RobotDetail, RobotOrder, TaskEvent, TaskEventName, ZoneStatus, ZoneWindow } from "./wire.js";
export type { components, paths } from "./schema.js";
