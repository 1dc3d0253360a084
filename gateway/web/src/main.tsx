import { render } from "preact";
import { Page } from "./page.js";
import { followTheme } from "./theme.js";
import "./style/tokens.css";
import "./style/base.css";
import "./style/page.css";
import "./style/panels.css";
import "uplot/dist/uPlot.min.css";

followTheme();
render(<Page />, document.getElementById("page")!);
