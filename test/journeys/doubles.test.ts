import { doublesWorld } from "../support/worlds/doubles-world.ts";
import { journeys } from "../support/worlds/journeys.ts";

journeys("scripted agent", doublesWorld);
