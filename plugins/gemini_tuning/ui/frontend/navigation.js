// Airflow shows the page in a sandboxed frame, which can neither open windows nor navigate the parent window. The frame
// has the same origin, so the page uses Airflow's router and document instead.

function airflowWindow() {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
}

// The base path of Airflow, for example /airflow.
export const base = window.location.pathname.replace(/\/gemini-tuning\/.*$/, "");

export const runPath = (dag, run, tab = true) =>
  `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}${tab ? "/plugin/gemini-tuning-run" : ""}`;
export const taskPath = (dag, run, task) =>
  `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}/tasks/${encodeURIComponent(task)}/required_actions`;

export function openInAirflow(path) {
  const airflow = airflowWindow();
  if (!airflow) return false;
  airflow.history.pushState({}, "", base + path);
  airflow.dispatchEvent(new airflow.PopStateEvent("popstate", { state: {} }));
  return true;
}

export function openExternal(href) {
  const airflow = airflowWindow();
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
    toasts.textContent = text; // no clipboard access: show the text, to be copied manually
  }
  setTimeout(() => (toasts.textContent = ""), 3000);
}
