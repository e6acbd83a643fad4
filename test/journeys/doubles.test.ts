import { doublesWorld } from "../support/doubles-world.ts";
import { journeys } from "../support/journeys.ts";

journeys("scripted agent", doublesWorld);
