import { equipmentWorld } from "../support/worlds/equipment-world.ts";
import { journeys } from "../support/worlds/journeys.ts";

journeys("real codex", equipmentWorld);
