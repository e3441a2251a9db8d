"""The only caller of git: where one is, what is edited, and whether one state of the code contains another.

It knows nothing of the pipeline, of the catalog or of settings, writes nothing to the repository and takes no lock.
"""

from anabranch.git.containment import Containment, How
from anabranch.git.objects import is_git_branch_name
from anabranch.git.repository import CommitInfo, Repository, State, Worktree

__all__ = ["CommitInfo", "Containment", "How", "Repository", "State", "Worktree", "is_git_branch_name"]
