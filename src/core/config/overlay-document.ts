import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import { durableJson, removeLeftovers } from "../store/durable-json.ts";
import type { Overlay } from "./overlay.ts";

const formatVersion = 1;

/** The operator's overlay in the data directory. */
export interface OverlayDocument {
  /** As it was when it was opened. */
  readonly overlay: Overlay;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable`; what is on disk is then as it was. */
  save(overlay: Overlay): Promise<void>;
}

/** Loads `overlay.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`. */
export async function openOverlay(dir: string): Promise<OverlayDocument> {
  const document = await documentIn(dir);
  await removeLeftovers(overlayFile(dir));
  return {
    overlay: document.data,
    async save(overlay) {
      document.data = overlay;
      await document.write();
    },
  };
}

/** The overlay as last written, for who does not hold the lock. Rejects like `openOverlay`; touches nothing. */
export async function readOverlay(dir: string): Promise<Overlay> {
  return (await documentIn(dir)).data;
}

function overlayFile(dir: string): string {
  return join(dir, "overlay.json");
}

async function documentIn(dir: string): Promise<Low<Overlay>> {
  const schema = z.record(z.string(), z.unknown());
  const document = new Low<Overlay>(
    durableJson<Overlay>(overlayFile(dir), formatVersion, schema),
    {},
  );
  await document.read();
  return document;
}
