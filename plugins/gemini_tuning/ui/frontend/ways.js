// Airflow shows the page in a sandboxed frame: no new windows, no navigation of the window above. The frame is of the
// same origin, so Airflow's own router and its document can be asked to do it.

function outside() {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
}

// The path that Airflow itself is under, for example /airflow.
export const base = window.location.pathname.replace(/\/gemini-tuning\/.*$/, "");

export const runPath = (dag, run, tab = true) =>
  `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}${tab ? "/plugin/gemini-tuning-run" : ""}`;
export const taskPath = (dag, run, task) =>
  `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}/tasks/${encodeURIComponent(task)}/required_actions`;

export function openInAirflow(path) {
  const airflow = outside();
  if (!airflow) return false;
  airflow.history.pushState({}, "", base + path);
  airflow.dispatchEvent(new airflow.PopStateEvent("popstate", { state: {} }));
  return true;
}

export function openExternal(href) {
  const airflow = outside();
  if (!airflow) return false;
  const link = airflow.document.createElement("a");
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.click();
  return true;
}

export async function copy(text) {
  const toasts = document.getElementById("toasts");
  try {
    await navigator.clipboard.writeText(text);
    toasts.textContent = "Copied.";
  } catch {
    toasts.textContent = text; // not allowed here: show it, so that it can be copied by hand
  }
  setTimeout(() => (toasts.textContent = ""), 3000);
}
