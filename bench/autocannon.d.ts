declare module "autocannon" {
  interface Options {
    readonly url: string;
    readonly connections: number;
    readonly duration?: number;
  }
  interface Outcome {
    readonly requests: { readonly average: number; readonly total: number };
    readonly latency: { readonly p50: number; readonly p99: number };
    readonly duration: number;
    readonly non2xx: number;
    readonly errors: number;
  }
  // biome-ignore lint/style/noDefaultExport: that is how the package exports it
  export default function autocannon(options: Options): Promise<Outcome>;
}
