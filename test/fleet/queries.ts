/** What deploy/ asks Prometheus for. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

const deploy = join(__dirname, "..", "..", "deploy");

export interface Query {
  readonly from: string;
  readonly expr: string;
}

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

/** Those of the dashboard, as Grafana sends them where all models and instances are chosen. */
export function dashboardQueries(rateInterval: string): Query[] {
  const { panels } = JSON.parse(readFileSync(join(deploy, "grafana-dashboard.json"), "utf8")) as { panels: Panel[] };
  return panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => ({
      from: `panel "${title}"`,
      expr: expr.replaceAll("$__rate_interval", rateInterval).replace(/\$(model|instance)/g, ".+"),
    })),
  );
}

/** What the custom metrics of the autoscaler are made of. */
export function adapterQueries(): Query[] {
  const { rules } = parse(readFileSync(join(deploy, "prometheus", "adapter.yaml"), "utf8"));
  return rules.custom.map(({ seriesQuery, name }: { seriesQuery: string; name: { as: string } }) => ({
    from: `custom metric ${name.as}`,
    expr: seriesQuery.slice(0, seriesQuery.indexOf("{")),
  }));
}
