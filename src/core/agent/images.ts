/** An image of an issue or of a comment on it, for a message to its agent. */
export interface AgentImage {
  readonly mediaType: "image/png" | "image/jpeg" | "image/webp";
  readonly base64: string;
}

const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const jpeg = Buffer.from([0xff, 0xd8, 0xff]);

/** By the first bytes (W3C PNG 5.2, JFIF, the RIFF container of WebP); null: none of these. */
export function imageTypeOf(bytes: Buffer): AgentImage["mediaType"] | null {
  if (bytes.subarray(0, png.length).equals(png)) return "image/png";
  if (bytes.subarray(0, jpeg.length).equals(jpeg)) return "image/jpeg";
  const isWebp =
    bytes.toString("latin1", 0, 4) === "RIFF" && bytes.toString("latin1", 8, 12) === "WEBP";
  return isWebp ? "image/webp" : null;
}

/** For APIs that take images as an address. */
export function dataUrl({ mediaType, base64 }: AgentImage): string {
  return `data:${mediaType};base64,${base64}`;
}

/** For a model whose provider refuses images: their message speaks of them. */
export function withoutImages(text: string): string {
  return `${text}\n\n(The images are not in this message: this model takes none.)`;
}
