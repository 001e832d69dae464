"""Wrong answers to the exercises of chapter 01."""

import copy

import torch
from torch import nn

from sftlab.teach.mistakes import wrong


@wrong("01-replace-head", says="expected [5, 4]")
def head_by_attribute(model, classes):
    """Changes the note of the size, not the weights."""
    model[-1].out_features = classes
    return model


@wrong("01-replace-head", says="The new layer stands behind the old one")
def head_behind_the_old_one(model, classes):
    """Puts the new layer behind the old output layer."""
    model.append(nn.Linear(model[-1].out_features, classes, dtype=model[-1].weight.dtype))
    return model


@wrong("01-replace-head", says="cannot be called any more")
def head_of_a_fixed_width(model, classes):
    """Takes a number of inputs that fits one model only."""
    model[-1] = nn.Linear(512, classes, dtype=model[-1].weight.dtype)
    return model


@wrong("01-replace-head", says="do not hold the pretrained weights")
def head_and_all_new(model, classes):
    """Initialises every layer again, and so trains from scratch."""
    model[-1] = nn.Linear(model[-1].in_features, classes, dtype=model[-1].weight.dtype)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return model


@wrong("01-replace-head", says="are copies")
def head_on_a_copy(model, classes):
    """Works on a copy of the model."""
    model = copy.deepcopy(model)
    model[-1] = nn.Linear(model[-1].in_features, classes, dtype=model[-1].weight.dtype)
    return model


@wrong("01-replace-head", says="rows of the old one")
def head_cut_down(model, classes):
    """Cuts the old head down to the number of classes, and keeps its rows."""
    old = model[-1]
    model[-1] = nn.Linear(old.in_features, classes, dtype=old.weight.dtype)
    kept = min(classes, old.out_features)
    with torch.no_grad():
        model[-1].weight[:kept] = old.weight[:kept]
    return model


@wrong("01-freeze", says="moved, although no gradient reached it")
def freeze_without_eval(model):
    """Forgets that BatchNorm averages what it sees."""
    for p in model.trunk.parameters():
        p.requires_grad_(False)
    return list(model.head.parameters())


@wrong("01-freeze", says="The head is frozen as well")
def freeze_everything(model):
    """Freezes the head as well."""
    for p in model.parameters():
        p.requires_grad_(False)
    model.trunk.eval()
    return list(model.head.parameters())


@wrong("01-freeze", says="is not the parameters of the head")
def freeze_and_give_all(model):
    """Gives the optimizer all parameters."""
    for p in model.trunk.parameters():
        p.requires_grad_(False)
    model.trunk.eval()
    return list(model.parameters())


@wrong("01-freeze", says="of the trunk still ask for a gradient")
def freeze_by_mode_only(model):
    """Takes eval mode for freezing."""
    model.trunk.eval()
    return list(model.head.parameters())


@wrong("01-freeze", says="The head is in eval mode")
def freeze_with_eval_of_all(model):
    """Puts the whole model in eval mode."""
    for p in model.trunk.parameters():
        p.requires_grad_(False)
    model.eval()
    return list(model.head.parameters())


@wrong("01-label-budget", says="The three classes are drawn")
def budget_of_all_together(labels, per_class, seed):
    """Draws from all examples together, so that classes differ in number."""
    generator = torch.Generator().manual_seed(seed)
    count = per_class * len(set(labels))
    return torch.randperm(len(labels), generator=generator)[:count].tolist()


@wrong("01-label-budget", says="the seed is not used")
def budget_of_the_first(labels, per_class, seed):
    """Takes the first examples of each class."""
    return [i for k in sorted(set(labels)) for i in [j for j, y in enumerate(labels) if y == k][:per_class]]


@wrong("01-label-budget", says="stands in the list twice")
def budget_with_putting_back(labels, per_class, seed):
    """Draws with putting back."""
    generator, chosen = torch.Generator().manual_seed(seed), []
    for k in sorted(set(labels)):
        own = [i for i, y in enumerate(labels) if y == k]
        chosen += [own[j] for j in torch.randint(len(own), (per_class,), generator=generator)]
    return chosen


@wrong("01-label-budget", says="4 indices come back, expected 12")
def budget_in_all(labels, per_class, seed):
    """Takes the budget for that of all classes together."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(labels), generator=generator)[:per_class].tolist()


@wrong("01-evidence", says="With 600 samples the evidence is")
def evidence_by_the_determinant(F, y, alpha, beta):
    """Takes the logarithm after the determinant."""
    C = torch.eye(len(y)).to(F) / beta + F @ F.T / alpha
    return -(y @ torch.linalg.solve(C, y) + torch.linalg.det(C).log() + len(y) * torch.tensor(2 * torch.pi).log()) / 2


@wrong("01-evidence", says="n/2 ln 2 pi, is missing")
def evidence_without_the_constant(F, y, alpha, beta):
    """Forgets the constant, which matters between checkpoints with different numbers of samples."""
    C = torch.eye(len(y)).to(F) / beta + F @ F.T / alpha
    return -(y @ torch.linalg.solve(C, y) + C.logdet()) / 2


@wrong("01-evidence", says="are variances here")
def evidence_by_variances(F, y, alpha, beta):
    """Takes the precisions for variances."""
    C = torch.eye(len(y)).to(F) * beta + F @ F.T * alpha
    return -(y @ torch.linalg.solve(C, y) + C.logdet() + len(y) * torch.tensor(2 * torch.pi).log()) / 2


@wrong("01-evidence", says="have changed places")
def evidence_exchanged(F, y, alpha, beta):
    """Exchanges the precision of the weights and that of the noise."""
    C = torch.eye(len(y)).to(F) / alpha + F @ F.T / beta
    return -(y @ torch.linalg.solve(C, y) + C.logdet() + len(y) * torch.tensor(2 * torch.pi).log()) / 2


@wrong("01-evidence", says="logarithm of the determinant is missing")
def evidence_without_the_determinant(F, y, alpha, beta):
    """Forgets the determinant, which punishes a wide prior."""
    C = torch.eye(len(y)).to(F) / beta + F @ F.T / alpha
    return -(y @ torch.linalg.solve(C, y) + len(y) * torch.tensor(2 * torch.pi).log()) / 2


@wrong("01-rank-correlation", says="correlation of the values")
def correlation_of_values(a, b):
    """Correlates the values themselves."""
    return torch.corrcoef(torch.tensor([a, b], dtype=torch.float64))[0, 1].item()


@wrong("01-rank-correlation", says="gives the order, not the ranks")
def correlation_of_the_order(a, b):
    """Takes the order for the ranks."""
    ranks = torch.stack([torch.tensor(v).argsort().double() for v in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


@wrong("01-rank-correlation", says="equal values must have equal ranks")
def correlation_without_ties(a, b):
    """Breaks ties by place."""
    ranks = [torch.tensor(v).argsort(stable=True).argsort().double() for v in (a, b)]
    return torch.corrcoef(torch.stack(ranks))[0, 1].item()


@wrong("01-rank-correlation", says="not the lowest")
def correlation_with_the_lowest_place(a, b):
    """Gives equal values the lowest of their places."""
    ranks = [[sum(w < v for w in values) for v in values] for values in (a, b)]
    return torch.corrcoef(torch.tensor(ranks).double())[0, 1].item()
