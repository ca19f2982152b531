// Train and eval loss by step, the checkpoints as labelled vertical lines.
import { LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

echarts.use([LineChart, GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TooltipComponent, SVGRenderer]);

const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function mark(checkpoint) {
  const winner = checkpoint.badges.includes("winner");
  const isDefault = checkpoint.badges.includes("default");
  const label = [checkpoint.checkpoint_id, winner ? "★ winner" : "", isDefault ? "● default" : ""].filter(Boolean).join("\n");
  return {
    xAxis: checkpoint.step,
    name: `Checkpoint ${checkpoint.checkpoint_id}`,
    label: { formatter: label, color: colour("--fg"), fontWeight: winner || isDefault ? "bold" : "normal", fontSize: 11, lineHeight: 13 },
    lineStyle: { color: colour(winner ? "--accent" : "--muted"), type: winner ? "solid" : isDefault ? "dashed" : "dotted", width: winner ? 2 : 1 },
  };
}

function line(name, data, colour_, symbol, dash) {
  return {
    name, data, type: "line", showSymbol: data.length < 60, symbol, symbolSize: 6,
    itemStyle: { color: colour_ }, lineStyle: { color: colour_, width: 2, type: dash },
  };
}

function options({ train, eval: evals, checkpoints, turn }) {
  const text = { color: colour("--muted"), fontFamily: colour("--font") };
  const axis = { axisLabel: text, nameTextStyle: text, axisLine: { lineStyle: { color: colour("--border") } }, splitLine: { lineStyle: { color: colour("--border") } } };
  const last = Math.max(...[...train, ...evals].map(([step]) => step), ...checkpoints.map(({ step }) => step));
  const first = line("Train loss", train, colour("--train"), "circle", "solid");
  first.markLine = { symbol: "none", silent: true, animation: false, data: checkpoints.map(mark) };
  if (turn !== null && turn < last) {
    first.markArea = {
      silent: true, itemStyle: { color: colour("--warning"), opacity: 0.18 },
      label: { color: colour("--fg"), position: "insideBottom", fontSize: 11 },
      data: [[{ name: "overfitting", xAxis: turn }, { xAxis: last }]],
    };
  }
  return {
    animation: false,
    textStyle: { fontFamily: colour("--font") },
    grid: { left: 56, right: 24, top: 64, bottom: 64 },
    legend: { bottom: 0, textStyle: text },
    // Text and not HTML: nothing is parsed, and the content security policy needs no exception.
    tooltip: { trigger: "axis", renderMode: "richText", backgroundColor: colour("--raised"), textStyle: { color: colour("--fg") }, valueFormatter: (value) => (value === undefined ? "-" : Number(value).toPrecision(4)) },
    xAxis: { ...axis, type: "value", name: "step", nameLocation: "middle", nameGap: 26, min: 0, max: last, splitLine: { show: false } },
    yAxis: { ...axis, type: "value", name: "loss", scale: true },
    series: [first, line("Eval loss", evals, colour("--eval"), "diamond", "dashed")],
  };
}

export function drawCharts() {
  for (const [element, chart] of drawn) {
    if (!element.isConnected) {
      chart.dispose();
      drawn.delete(element);
    }
  }
  for (const element of document.querySelectorAll("[data-chart]")) {
    if (!drawn.has(element)) {
      const chart = echarts.init(element, null, { renderer: "svg" });
      drawn.set(element, chart);
      new ResizeObserver(() => chart.resize()).observe(element);
    }
    drawn.get(element).setOption(options(JSON.parse(element.dataset.chart)), true);
  }
}
