"""The names of `logtrick.programs` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick.programs._begin import (
    check_program_arguments as check_program_arguments,
    start as start,
)
from logtrick.programs._black_box import (
    black_box as black_box,
    host_errors_surface as host_errors_surface,
)
from logtrick.programs._credit import dependencies as dependencies
from logtrick.programs._explain import Explanation as Explanation, explain as explain
from logtrick.programs._infos import (
    CostInfo as CostInfo,
    SiteInfo as SiteInfo,
    Structure as Structure,
    key_info as key_info,
    leaves_of as leaves_of,
)
from logtrick.programs._plate import plate as plate
from logtrick.programs._run import (
    Block as Block,
    automatic_chunk as automatic_chunk,
    block_sizes as block_sizes,
    run_all as run_all,
    run_block as run_block,
    scan_blocks as scan_blocks,
)
from logtrick.programs._scan import scan as scan
from logtrick.programs._separable import separable_sites as separable_sites
from logtrick.programs._sites import (
    check_in_loop as check_in_loop,
    check_site as check_site,
    site_info as site_info,
)
from logtrick.programs._statements import (
    Cost as Cost,
    FreshKey as FreshKey,
    Program as Program,
    Sample as Sample,
    check_distribution as check_distribution,
    check_estimator as check_estimator,
    cost as cost,
    fresh_key as fresh_key,
    sample as sample,
    whole_cost as whole_cost,
    with_estimators as with_estimators,
)
from logtrick.programs._structure import structure_of as structure_of
from logtrick.programs._waiting import wide as wide
from logtrick.programs._walk import (
    Reader as Reader,
    Running as Running,
    begin_step as begin_step,
    changed as changed,
    walk as walk,
)
