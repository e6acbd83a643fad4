/** A number as people read it: 20,431,000. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}
