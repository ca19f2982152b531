// What the page does beyond HTML: the chart, Airflow's theme, and ways out of the frame that Airflow shows it in.
import "htmx.org";
import { followActions } from "./actions.js";
import { drawCharts } from "./chart.js";
import { followTheme } from "./theme.js";
import { copy, openExternal, openInAirflow, runPath, taskPath } from "./ways.js";

followTheme(drawCharts);
drawCharts();
followActions();
document.addEventListener("htmx:afterSettle", () => drawCharts());

const isTimed = (event) => !event.detail.requestConfig.triggeringEvent;

document.addEventListener("htmx:beforeSwap", (event) => {
  // Errors come as small pages that say what to do: show them in place. A refresh that fails is tried again instead.
  if (event.detail.xhr.status >= 400 && (!isTimed(event) || event.detail.target.id === "matrix")) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
    event.detail.selectOverride = "main > *";
  }
});

// While somebody reads or is somewhere inside a part that refreshes itself, it is left alone.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.elt;
  if (!part.matches("#live, #lines") || !isTimed(event)) return;
  const scrolled = [...part.querySelectorAll(".scroll")].some((table) => table.scrollLeft > 0);
  if (scrolled || part.querySelector("details[open]") || part.contains(document.activeElement)) event.preventDefault();
});

// A refresh that fails changes nothing; say so, or the page shows "running" for ever.
for (const failure of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(failure, (event) => {
    const status = event.detail.xhr?.status;
    const why = status === 401 ? "you are not signed in any more" : status ? `Airflow answers ${status}` : "Airflow does not answer";
    if (isTimed(event)) document.getElementById("toasts").textContent = `Not up to date: ${why}. Reload the page.`;
  });
}
document.addEventListener("htmx:afterSwap", (event) => {
  if (isTimed(event)) document.getElementById("toasts").textContent = "";
});

document.addEventListener("htmx:afterSwap", (event) => {
  const opens = event.detail.requestConfig?.elt?.dataset?.opens;
  if (opens) document.getElementById(opens).showModal();
});

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-external], [data-run], [data-overview]");
  if (!target) return;
  if (target.dataset.copy !== undefined) return void copy(target.dataset.copy);
  const { runDag, run, task, plain } = target.dataset;
  const opened =
    target.dataset.external !== undefined
      ? openExternal(target.href)
      : openInAirflow(
          run === undefined ? "/plugin/gemini-tuning"
          : task ? taskPath(runDag, run, task)
          : runPath(runDag, run, plain === undefined),
        );
  if (opened) event.preventDefault();
});
