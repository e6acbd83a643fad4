import { equipmentWorld } from "../support/equipment-world.ts";
import { journeys } from "../support/journeys.ts";

journeys("real codex", equipmentWorld);
